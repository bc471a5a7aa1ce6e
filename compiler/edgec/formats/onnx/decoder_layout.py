"""An ONNX decoder before it is made: its files, an upper bound of their sizes, and what the builder is asked for.

Rules: from the checkpoint's header alone; the bound is held: larger files are an error of the step that made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgec.formats.onnx.decoder_files import CARRIED, CONFIG_FILE
from edgec.quantize.architecture import Decoder

GraphKind = Literal["genai", "standard"]
MODEL_FILE, DATA_FILE = "model.onnx", "model.onnx.data"
SCHEMES: Mapping[GraphKind, tuple[str, ...]] = {"genai": ("int4", "int8", "fp16", "fp32"), "standard": ("fp32",)}
_BITS = {"int4": 4, "int8": 8}
_BYTES = {"fp32": 4, "fp16": 2}
# The graph without its weights: measured 37 to 49 kB for 6 layers, and 0.5 MB for 6 of Optimum's.
_GRAPH_BYTES: Mapping[GraphKind, int] = {"genai": 128 << 10, "standard": 512 << 10}
_LAYER_BYTES: Mapping[GraphKind, int] = {"genai": 16 << 10, "standard": 256 << 10}
_CONFIG_BYTES = 16 << 10
# Of every tensor's place in the data.
_ALIGNMENT = 64


@dataclass(frozen=True)
class DecoderLayout:
    """`bytes_by_type`: bounds of the weights; `float_bytes`: of all weights in float32; `size_bytes`: of all files.

    `embedding_bytes`: of a table that is read one row a token, 0 where the head is the same one; `kv_bytes`: of one
    element of the KV cache, which the graph's inputs and outputs fix.
    """

    scheme: str
    kind: GraphKind
    block_size: int
    algorithm: str
    tied: bool
    bytes_by_type: Mapping[str, int]
    embedding_bytes: int
    data_bytes: int
    graph_bytes: int
    float_bytes: int
    size_bytes: int
    carried: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where the files lie in the bundle's `onnx`: onnxruntime-genai wants one folder for each model."""
        return self.scheme

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all its files."""
        own = (MODEL_FILE, DATA_FILE, *((CONFIG_FILE,) if self.kind == "genai" else ()))
        return (*own, *self.carried)

    @property
    def kv_bytes(self) -> int:
        """Bytes of one element of the KV cache."""
        return 2 if self.scheme == "fp16" else 4

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(self.bytes_by_type.values())

    @property
    def options(self) -> tuple[str, ...]:
        """The builder's own, `KEY=VALUE`."""
        found = ["hf_remote=false"]
        if self.tied:
            found.append("shared_embeddings=true")
        if self.scheme in _BITS:
            found += [f"block_size={self.block_size}", "accuracy_level=4", f"algo_config={self.algorithm}"]
        if self.scheme == "int4" and not self.tied:
            found.append("op_types_to_quantize=MatMul/Gather")
        return tuple(found)


def plan_decoder_layout(
    decoder: Decoder,
    scheme: str,
    kind: GraphKind,
    files: Mapping[str, bytes],
    *,
    positions: int,
    block_size: int,
    algorithm: str,
) -> DecoderLayout:
    """The layout of the decoder in `scheme`. `files`: the source's small ones, by name; `positions`: of config.json."""
    matrices = _matrices(decoder)
    # The tables of rotary angles reach to the model's last position.
    vectors = _vectors(decoder) + (positions if kind == "genai" else 4) * decoder.head_dim
    stored = matrices if decoder.tied else [*matrices, (decoder.vocabulary, decoder.width)]
    floats = 4 * (sum(rows * columns for rows, columns in stored) + vectors)
    if scheme in _BITS:
        by_type, embedding = _quantized(decoder, scheme, block_size, algorithm)
    else:
        size = _BYTES[scheme]
        embedding = 0 if decoder.tied else size * decoder.vocabulary * decoder.width
        by_type = {_type(scheme): size * sum(rows * columns for rows, columns in matrices) + embedding}
    plain = "f16" if scheme == "fp16" else "f32"
    by_type = {**by_type, plain: by_type.get(plain, 0) + _BYTES.get(scheme, 4) * vectors}
    data = sum(by_type.values()) + _ALIGNMENT * 4 * (len(matrices) + 2 * decoder.layers + 8)
    graph = _GRAPH_BYTES[kind] + decoder.layers * _LAYER_BYTES[kind]
    carried = tuple(name for name in CARRIED if name in files)
    small = _CONFIG_BYTES + sum(len(files[name]) for name in carried)
    return DecoderLayout(
        scheme=scheme,
        kind=kind,
        block_size=block_size,
        algorithm=algorithm,
        tied=decoder.tied,
        bytes_by_type=by_type,
        embedding_bytes=embedding,
        data_bytes=data,
        graph_bytes=graph,
        float_bytes=floats,
        size_bytes=data + graph + small,
        carried=carried,
    )


def _type(scheme: str) -> str:
    return "f16" if scheme == "fp16" else "f32"


def _matrices(decoder: Decoder) -> list[tuple[int, int]]:
    """Rows and columns of every linear, the head's included."""
    layer = list(decoder.linear_shapes().values())
    return [*layer * decoder.layers, (decoder.vocabulary, decoder.width)]


def _vectors(decoder: Decoder) -> int:
    """Elements of norms and biases."""
    biases = decoder.query_width + 2 * decoder.kv_width + 2 * decoder.width + 2 * decoder.inner
    layer = sum(decoder.norms().values()) + biases
    return decoder.layers * layer + decoder.width


def _quantized(decoder: Decoder, scheme: str, block_size: int, algorithm: str) -> tuple[dict[str, int], int]:
    """Bytes of codes and scales, and of them those of an embedding of its own."""
    bits = _BITS[scheme]
    codes = scales = 0
    for rows, columns in _matrices(decoder):
        own = _block_bytes(rows, columns, bits, block_size, algorithm)
        codes, scales = codes + own[0], scales + own[1]
    embedding = 0
    if not decoder.tied:
        if bits == 4:
            # The table's own quantizer knows one algorithm.
            own = _block_bytes(decoder.vocabulary, decoder.width, bits, block_size, "default")
            codes, scales, embedding = codes + own[0], scales + own[1], sum(own)
        else:
            embedding = 4 * decoder.vocabulary * decoder.width
            scales += embedding
    return {f"i{bits}": codes, "f32": scales}, embedding


def _block_bytes(rows: int, columns: int, bits: int, block_size: int, algorithm: str) -> tuple[int, int]:
    blocks = -(-columns // block_size)
    offsets = -(-blocks * bits // 8) if algorithm == "k_quant" else 0
    return rows * (blocks * block_size * bits // 8 + offsets), rows * blocks * 4
