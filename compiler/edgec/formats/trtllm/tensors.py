"""The tensors of rank0.safetensors: names, types, shapes, and what of the source each is made from.

Rule: names and layouts are those that `trtllm-build` reads from a checkpoint of its own converters; matrices are
[output channels, input channels].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from edgec.formats.trtllm.names import EMBEDDING, FINAL_NORM, LINEARS, NORMS, OUTPUT, layer_of
from edgec.formats.trtllm.schemes import KvCache, Scheme
from edgec.formats.trtllm.shape import DecoderShape
from edgec.formats.trtllm.source_check import SourceLinears
from edgec.source.safetensors_file import TensorSpec


class Kind(StrEnum):
    """How a tensor's values come from its parts."""

    # F16 rows of matrices, or of vectors.
    HALF = "half"
    VECTOR = "vector"
    # Codes: two output channels a byte, the even one in the low half; or one a byte.
    CODES4 = "codes4"
    CODES8 = "codes8"
    # F32: a scale per group of input channels, or per output channel.
    GROUP_SCALES = "group_scales"
    CHANNEL_SCALES = "channel_scales"
    # F16 factors of the input channels; ones where the source has none.
    PRE_SCALE = "pre_scale"
    # F32, one number: the input's scale, the KV cache's scale.
    INPUT_SCALE = "input_scale"
    KV_SCALE = "kv_scale"


@dataclass(frozen=True)
class Part:
    """`source`: a linear's or a tensor's name in the source. `rows`: its output channels (or elements)."""

    source: str
    rows: int


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the file. `parts` follow each other in it. `engine_bytes`: what it takes in the engine."""

    spec: TensorSpec
    kind: Kind
    parts: tuple[Part, ...]
    engine_bytes: int

    @property
    def columns(self) -> int:
        """Elements of one row; 1 for vectors."""
        return self.spec.shape[1] if len(self.spec.shape) == 2 else 1

    @property
    def label(self) -> str:
        """The type, for people."""
        names = {Kind.CODES4: "i4", Kind.CODES8: "i8"}
        return names.get(self.kind, "f32" if self.spec.dtype == "F32" else "f16")


def plan_tensors(
    shape: DecoderShape, source: SourceLinears, scheme: Scheme, *, kv_cache: KvCache, writes_output: bool
) -> tuple[TensorPlan, ...]:
    """All tensors, in the order of the file."""
    table = (shape.vocabulary, shape.hidden)
    tensors = [_half(EMBEDDING[0], table, (Part(EMBEDDING[1], shape.vocabulary),))]
    for index in range(shape.layers):
        tensors += _layer(index, shape, source, scheme, kv_cache)
    tensors.append(_vector(FINAL_NORM[0], (Part(FINAL_NORM[1], shape.hidden),)))
    if writes_output:
        # A copy of the embedding takes no room of its own in the engine.
        part = Part(EMBEDDING[1] if shape.tied else OUTPUT[1], shape.vocabulary)
        tensors.append(_half(OUTPUT[0], table, (part,), engine_bits=0 if shape.tied else 16))
    return tuple(tensors)


def _layer(
    index: int, shape: DecoderShape, source: SourceLinears, scheme: Scheme, kv_cache: KvCache
) -> Iterator[TensorPlan]:
    ours, theirs = layer_of(index)
    for name, norm in NORMS.items():
        yield _vector(f"{ours}.{name}", (Part(f"{theirs}.{norm}", shape.hidden),))
    for name, modules in LINEARS.items():
        yield from _linear(f"{ours}.{name}", tuple(f"{theirs}.{m}" for m in modules), source, scheme)
    if kv_cache == "int8":
        yield _number(f"{ours}.attention.kv_cache_scaling_factor", Kind.KV_SCALE, (Part(theirs, 1),))


def _linear(name: str, modules: tuple[str, ...], source: SourceLinears, scheme: Scheme) -> Iterator[TensorPlan]:
    infos = [source.linears[m] for m in modules]
    parts = tuple(Part(i.name, i.out_features) for i in infos)
    rows, columns = sum(p.rows for p in parts), infos[0].in_features
    if scheme.source_bits is None:
        weights = tuple(Part(f"{p.source}.weight", p.rows) for p in parts)
        yield _half(f"{name}.weight", (rows, columns), weights, engine_bits=scheme.engine_bits)
    elif scheme.source_bits == 4:
        groups = columns // (source.group_size or columns)
        yield _plan(f"{name}.weight", "I8", (rows // 2, columns), Kind.CODES4, parts)
        # The build turns these scales into FP16.
        scales = TensorSpec(f"{name}.weights_scaling_factor", "F32", (rows, groups))
        yield TensorPlan(scales, Kind.GROUP_SCALES, parts, scales.nbytes // 2)
    else:
        yield _plan(f"{name}.weight", "I8", (rows, columns), Kind.CODES8, parts)
        yield _plan(f"{name}.weights_scaling_factor", "F32", (rows,), Kind.CHANNEL_SCALES, parts)
        yield _number(f"{name}.activation_scaling_factor", Kind.INPUT_SCALE, parts)
    if scheme.source_bits == 8 or source.pre_scaled:
        yield _plan(f"{name}.prequant_scaling_factor", "F16", (columns,), Kind.PRE_SCALE, parts)
    if infos[0].has_bias:
        yield _vector(f"{name}.bias", tuple(Part(f"{p.source}.bias", p.rows) for p in parts))


def _half(name: str, shape: tuple[int, int], parts: tuple[Part, ...], engine_bits: int = 16) -> TensorPlan:
    # Per-channel scales of weight-only kernels: FP16.
    scales = 2 * shape[0] if 0 < engine_bits < 16 else 0
    spec = TensorSpec(name, "F16", shape)
    return TensorPlan(spec, Kind.HALF, parts, shape[0] * shape[1] * engine_bits // 8 + scales)


def _vector(name: str, parts: tuple[Part, ...]) -> TensorPlan:
    return _plan(name, "F16", (sum(p.rows for p in parts),), Kind.VECTOR, parts)


def _number(name: str, kind: Kind, parts: tuple[Part, ...]) -> TensorPlan:
    return _plan(name, "F32", (1,), kind, parts)


def _plan(name: str, dtype: str, shape: tuple[int, ...], kind: Kind, parts: tuple[Part, ...]) -> TensorPlan:
    spec = TensorSpec(name, dtype, shape)
    return TensorPlan(spec, kind, parts, spec.nbytes)
