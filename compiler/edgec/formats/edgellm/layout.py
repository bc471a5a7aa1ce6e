"""What an Edge-LLM export will be, from a checkpoint's header alone: sizes, memory, refusals.

Rule: the bytes of the weights are exact; the graph around them is an estimate that the export is checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgec.documents.canonical import sha256_json
from edgec.errors import InputError
from edgec.formats.edgellm.limits import (
    GROUP_SIZE,
    refuse_beyond_limits,
    refuse_other_quantization,
    refuse_tensors,
    refuse_tokenizer,
    refuse_wide_floats,
)
from edgec.formats.edgellm.onnx_file import DATA_FILE, MODEL_FILE
from edgec.formats.edgellm.shape import Linear, ModelShape, read_shape
from edgec.formats.edgellm.versions import EdgeLlmVersion
from edgec.source.model import CheckpointHeader, DType

Scheme = Literal["fp16", "int4_awq", "int4_gptq", "int4_rtn", "int8_sq"]

EMBEDDING_FILE = "embedding.safetensors"
CONFIG_FILE = "config.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
# The tokenizer's files that the exporter copies, where the checkpoint has them.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json")

# Changes whenever the same inputs would give other bytes.
_WRITER = 1
_SAFETENSORS_HEADER_BYTES = 88
# Measured: see docs/edgellm.md. The graph without debug data: at most so much per layer, and besides.
_GRAPH_BYTES_PER_LAYER = 16_000
_GRAPH_BYTES = 12_000
_SMALL_CONSTANTS_BYTES = 4096
# The fragments of the INT4 kernel: tiles of 128 output by 64 input channels, half a byte each.
_TILE_OUT, _TILE_IN, _TILE_BYTES = 128, 64, 4096
# Memory of the exporter (anonymous; mapped weights can be dropped): measured, and rounded up.
_BASE_MIB = 480
_REPACKING_BYTES_PER_ELEMENT = 34
_SECONDS = 1200.0
_ELEMENTS_PER_SECOND = 5e6


@dataclass(frozen=True)
class PlannedFile:
    """A file of the export. `exact`: the size is, otherwise it is an upper estimate."""

    name: str
    size_bytes: int
    exact: bool


@dataclass(frozen=True)
class EdgeLlmLayout:
    """A planned export.

    `memory_mib`: what the exporter needs; `scratch_bytes`: disk for the export besides its result; `digest`: of all
    that shapes its bytes besides the checkpoint; `timeout_s`: after which the exporter is taken for hung. `notes`: what
    a person should know. `weight_bytes`: what the engine keeps in memory of it, embeddings included.
    """

    scheme: Scheme
    version: EdgeLlmVersion
    shape: ModelShape
    files: tuple[PlannedFile, ...]
    weight_bytes: int
    memory_mib: int
    scratch_bytes: int
    timeout_s: float
    digest: str
    notes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all files, an upper estimate."""
        return sum(f.size_bytes for f in self.files)

    @property
    def max_context(self) -> int:
        """How many tokens of context it computes as the source does."""
        return self.shape.max_context


def plan_edgellm(header: CheckpointHeader, scheme: str, version: EdgeLlmVersion) -> EdgeLlmLayout:
    """Plans the export of a checkpoint in `scheme`. Nothing but the header is needed.

    `header`: of the source, plain or quantized already, or of the quantized checkpoint that will be exported: the plan
    is the same. Raises InputError for what the exporter, or a kernel on the device, cannot take.
    """
    if scheme not in get_args(Scheme):
        raise InputError.of(
            f"Edge-LLM has no scheme {scheme!r}",
            hint=f"use one of {', '.join(get_args(Scheme))}; Orin has no FP8 and no NVFP4",
        )
    shape = read_shape(header.config)
    refuse_other_quantization(header, scheme)
    refuse_beyond_limits(shape, scheme)
    refuse_tensors(header, shape)
    if scheme == "fp16" or header.quantization is not None:
        refuse_wide_floats(header)
    refuse_tokenizer(header)
    biases = sum(t.elements for name, t in header.tensors.items() if name.endswith(".bias"))
    return _planned(header, shape, _scheme(scheme), version, biases)


def _scheme(text: str) -> Scheme:
    return next(s for s in get_args(Scheme) if s == text)


def _planned(
    header: CheckpointHeader, shape: ModelShape, scheme: Scheme, version: EdgeLlmVersion, biases: int
) -> EdgeLlmLayout:
    data = data_bytes(shape, scheme, biases)
    embedding = shape.vocabulary * shape.hidden * 2
    copied = [PlannedFile(n, _copied_bytes(n, header.files[n]), False) for n in TOKENIZER_FILES if n in header.files]
    files = (
        PlannedFile(MODEL_FILE, _GRAPH_BYTES + shape.layers * _GRAPH_BYTES_PER_LAYER, False),
        PlannedFile(DATA_FILE, data + _SMALL_CONSTANTS_BYTES + _orders(shape, scheme), False),
        PlannedFile(CONFIG_FILE, 4096, False),
        PlannedFile(EMBEDDING_FILE, embedding + _SAFETENSORS_HEADER_BYTES, True),
        PlannedFile(CHAT_TEMPLATE_FILE, _template_bytes(header), False),
        *copied,
    )
    elements = sum(linear.out_features * linear.in_features for linear in shape.linears())
    return EdgeLlmLayout(
        scheme=scheme,
        version=version,
        shape=shape,
        files=files,
        weight_bytes=data + embedding,
        memory_mib=memory_mib(shape, scheme, casts=_casts(header, scheme)),
        scratch_bytes=sum(f.size_bytes for f in files),
        timeout_s=_SECONDS + elements / _ELEMENTS_PER_SECOND,
        digest=sha256_json({"writer": _WRITER, "scheme": scheme, "version": version.number}),
        notes=_notes(header, shape, scheme),
    )


def _copied_bytes(name: str, data: bytes) -> int:
    """At most; the exporter writes tokenizer_config.json again, indented, when it takes the chat template out of it."""
    return 4 * len(data) + 4096 if name == "tokenizer_config.json" else len(data)


def _template_bytes(header: CheckpointHeader) -> int:
    """At most: what holds it."""
    names = (CHAT_TEMPLATE_FILE, "chat_template.json", "tokenizer_config.json")
    return max(len(header.files.get(name, b"")) for name in names)


def data_bytes(shape: ModelShape, scheme: str, biases: int) -> int:
    """The bytes of all weights in the data file. Equal tensors are stored once for all of them, which makes it less."""
    total = sum(shape.vectors().values()) * 2 + biases * 2 + shape.vocabulary * shape.hidden * 2
    return total + sum(_linear_bytes(linear, scheme) for linear in shape.linears())


def _linear_bytes(linear: Linear, scheme: str) -> int:
    rows, columns = linear.out_features, linear.in_features
    if scheme == "fp16":
        return rows * columns * 2
    if scheme == "int8_sq":
        # Codes, a scale per row, the input's scale, smoothing factors.
        return rows * columns + rows * 4 + 4 + columns * 2
    tiles = -(-rows // _TILE_OUT) * -(-columns // _TILE_IN)
    return tiles * _TILE_BYTES + columns // GROUP_SIZE * rows * 2


def _orders(shape: ModelShape, scheme: str) -> int:
    """The orders of input channels of a GPTQ checkpoint, 8 bytes a channel; another one has none."""
    return 8 * sum(linear.in_features for linear in shape.linears()) if scheme.startswith("int4") else 0


def _casts(header: CheckpointHeader, scheme: str) -> bool:
    """Whether the exporter casts the embeddings, instead of mapping the file. edgec's quantizer writes float16."""
    is_exported_itself = scheme == "fp16" or header.quantization is not None
    return is_exported_itself and header.tensors["model.embed_tokens.weight"].dtype is DType.BF16


def memory_mib(shape: ModelShape, scheme: str, *, casts: bool) -> int:
    """The exporter's peak of memory that cannot be dropped: what it casts and repacks, a linear at a time."""
    elements = [linear.out_features * linear.in_features for linear in shape.linears()]
    table_bytes = 2 * shape.vocabulary * shape.hidden
    held = (2 if casts else int(shape.tied)) * table_bytes
    if scheme == "fp16":
        held += 2 * sum(elements)
    elif scheme.startswith("int4"):
        held += sum(elements) // 2 + _REPACKING_BYTES_PER_ELEMENT * max(elements)
    return _BASE_MIB + (held >> 20)


def _notes(header: CheckpointHeader, shape: ModelShape, scheme: str) -> tuple[str, ...]:
    notes = []
    window = header.config.get("sliding_window")
    if shape.model_type == "mistral" and isinstance(window, int):
        notes.append(
            f"Edge-LLM computes no sliding window for Mistral: up to {shape.max_context} tokens it is the same model"
        )
    layout = header.quantization.layout if header.quantization else None
    if layout == "gptq" or (layout is None and scheme == "int4_gptq"):
        notes.append("the exporter gives each GPTQ layer an order of its input channels, a small copy at every step")
    return tuple(notes)
