"""A TensorRT-LLM checkpoint before a weight is read: the tensors of rank0.safetensors, config.json, exact sizes.

Rule: a layout is a pure function of the source's header and the settings; writing only fills in the tensor data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgec.documents.canonical import sha256_bytes, sha256_json
from edgec.formats.trtllm.config_file import config_bytes
from edgec.formats.trtllm.schemes import KvCache, Scheme, scheme_named
from edgec.formats.trtllm.shape import DecoderShape, read_shape
from edgec.formats.trtllm.source_check import SourceLinears, check_source
from edgec.formats.trtllm.tensors import TensorPlan, plan_tensors
from edgec.formats.trtllm.versions import VersionFacts, version_facts
from edgec.quantize.weights import plan_weights
from edgec.source.model import CheckpointHeader
from edgec.source.safetensors_file import SafetensorsLayout, plan_safetensors

WEIGHTS_FILE = "rank0.safetensors"
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class TrtLlmLayout:
    """Everything about the checkpoint but the weights. `config`: config.json's bytes; `notes`: for the report.

    `engine_bytes`: of the weights as the engine holds them, which is less than the file where the build quantizes.
    """

    scheme: Scheme
    facts: VersionFacts
    kv_cache: KvCache
    shape: DecoderShape
    source: SourceLinears
    tensors: tuple[TensorPlan, ...]
    config: bytes
    file: SafetensorsLayout
    notes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of both files together; exact."""
        return self.file.size_bytes + len(self.config)

    @property
    def engine_bytes(self) -> int:
        """Bytes of the weights in the engine."""
        return sum(t.engine_bytes for t in self.tensors)

    @cached_property
    def bytes_by_type(self) -> dict[str, int]:
        """Tensor bytes per element type of the file."""
        count: Counter[str] = Counter()
        for tensor in self.tensors:
            count[tensor.label] += tensor.spec.nbytes
        return dict(sorted(count.items()))

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` over all that the files' bytes depend on besides the weights and the KV cache's ranges."""
        tensors = [[t.spec.name, t.kind, [[p.source, p.rows] for p in t.parts]] for t in self.tensors]
        files = [sha256_bytes(self.config), sha256_bytes(self.file.header)]
        return sha256_json({"scheme": self.scheme.name, "files": files, "tensors": tensors})


def plan_trtllm(header: CheckpointHeader, *, scheme: str, version: str, kv_cache: KvCache = "fp16") -> TrtLlmLayout:
    """The checkpoint of `header` in `scheme` for TensorRT-LLM `version`, from headers alone.

    Raises InputError for a version, scheme, architecture, head, width, group or vocabulary that cannot be taken, and
    for a source whose weights are not what the scheme is made from.
    """
    facts, chosen, shape = version_facts(version), scheme_named(scheme), read_shape(header.config)
    source = check_source(header, plan_weights(header), shape, chosen)
    writes_output = not (shape.tied and facts.omits_tied_output)
    tensors = plan_tensors(shape, source, chosen, kv_cache=kv_cache, writes_output=writes_output)
    config = config_bytes(shape, source, chosen, facts, kv_cache)
    file = plan_safetensors(t.spec for t in tensors)
    return TrtLlmLayout(
        chosen, facts, kv_cache, shape, source, tensors, config, file, _notes(shape, chosen, kv_cache, writes_output)
    )


def _notes(shape: DecoderShape, scheme: Scheme, kv_cache: KvCache, writes_output: bool) -> tuple[str, ...]:
    notes = []
    if scheme.source_bits is None and scheme.engine_bits < 16:
        notes.append(
            f"The file holds FP16 weights; trtllm-build quantizes them to {scheme.title} when it loads them. "
            "What is compared with the source is that quantization, computed here as the build computes it."
        )
    if shape.tied:
        how = "stands twice in the file, as this version's loader wants it" if writes_output else "is shared"
        notes.append(f"The output layer is the embedding; it {how}.")
    if shape.window is not None:
        notes.append(f"Attention looks back {shape.window} tokens: engines are built for contexts of at most as many.")
    if kv_cache == "int8":
        notes.append("The KV cache is INT8, with one scale per layer for K and V from ranges on the calibration text.")
    return tuple(notes)


def kv_scale_names(layout: TrtLlmLayout) -> Mapping[int, str]:
    """The tensor with the scale of the KV cache of each layer; empty when the cache is not quantized."""
    if layout.kv_cache == "fp16":
        return {}
    return {i: f"transformer.layers.{i}.attention.kv_cache_scaling_factor" for i in range(layout.shape.layers)}
