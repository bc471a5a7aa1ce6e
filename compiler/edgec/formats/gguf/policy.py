"""Which type each tensor gets: llama.cpp's mixes and fallbacks, restated from src/llama-quant.cpp (0c1e57098).

Rule: for every scheme edgec offers, the choice equals llama-quantize's, tensor by tensor. Its counters run over tensors
in its own order (`tensor_order`), and fused `attn_qkv` follows the rules of `attn_v`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.model import MappedModel, TensorMapping
from edgec.formats.gguf.types import SCHEMES, TensorType
from edgec.source.model import DType

# Internal scheme of the reference file: every matrix keeps the checkpoint's own type.
SOURCE_SCHEME = "source"

_SOURCE_TYPES = {DType.F32: TensorType.F32, DType.F16: TensorType.F16, DType.BF16: TensorType.BF16}

# What llama.cpp takes instead when a row is no whole number of 256-element blocks.
_FALLBACKS = {
    TensorType.IQ4_XS: TensorType.IQ4_NL,
    TensorType.Q2_K: TensorType.Q4_0,
    TensorType.Q3_K: TensorType.Q4_0,
    TensorType.Q4_K: TensorType.Q5_0,
    TensorType.Q5_K: TensorType.Q5_1,
    TensorType.Q6_K: TensorType.Q8_0,
}

# Matrices llama.cpp never quantizes although their names end in `weight`.
_NEVER_QUANTIZED = ("_norm.weight", "position_embd", "token_types.weight", "ffn_gate_inp.weight")


def tensor_order(name: str) -> tuple[int, bytes]:
    """Sort key of llama.cpp's tensor order: tensors outside of blocks first, then by block, then by name."""
    match = re.match(r"blk\.(\d+)", name)
    return (int(match[1]) if match else -1, name.encode())


def is_quantizable(tensor: TensorMapping) -> bool:
    """Whether llama.cpp's schemes change this tensor's type; all others are float32."""
    return (
        tensor.fixed_type is None
        and len(tensor.shape) >= 2
        and tensor.shape[0] > 1
        and tensor.name.endswith("weight")
        and not any(part in tensor.name for part in _NEVER_QUANTIZED)
    )


def assign_types(
    mapped: MappedModel,
    scheme: str,
    *,
    has_imatrix: bool = False,
    overrides: Sequence[tuple[str, str]] = (),
    source_dtypes: Mapping[str, DType] | None = None,
) -> dict[str, TensorType]:
    """Types of all tensors of `mapped` by name, in llama.cpp's order.

    `scheme`: a recipe's scheme, or `source`, which needs `source_dtypes` (safetensors name -> type). `overrides`: pairs
    of a glob over tensor names and a type's name; the last match wins, and other tensors' types do not change
    (llama-quantize would shift its counters). Raises InputError for an override that matches nothing or whose blocks do
    not fit.
    """
    ordered = sorted(mapped.tensors, key=lambda t: tensor_order(t.name))
    if scheme == SOURCE_SCHEME:
        chosen = {t.name: _source_type(t, source_dtypes or {}) for t in ordered}
    else:
        mix = _Mix.of(mapped, scheme, has_imatrix)
        chosen = {t.name: mix.choose(t) if is_quantizable(t) else TensorType.F32 for t in ordered}
    _apply_overrides(chosen, [t for t in ordered if is_quantizable(t)], overrides)
    return chosen


def _source_type(tensor: TensorMapping, dtypes: Mapping[str, DType]) -> TensorType:
    if not is_quantizable(tensor) or tensor.source is None:
        return TensorType.F32
    return _SOURCE_TYPES[dtypes[tensor.source]]


def _apply_overrides(
    chosen: dict[str, TensorType], quantizable: Iterable[TensorMapping], overrides: Sequence[tuple[str, str]]
) -> None:
    mistakes: list[Diagnostic] = []
    candidates = list(quantizable)
    for pattern, label in overrides:
        wanted = TensorType.of_label(label)
        matches = [t for t in candidates if fnmatchcase(t.name, pattern)]
        if not matches:
            mistakes.append(
                Diagnostic(
                    f"the override {pattern!r} matches no tensor that can be quantized",
                    hint=f"names look like {', '.join(t.name for t in candidates[:3])}; globs as blk.*.ffn_down.weight",
                )
            )
        for tensor in matches:
            columns = tensor.shape[-1]
            if not wanted.fits(columns):
                mistakes.append(
                    Diagnostic(
                        f"the override {pattern!r} asks for {label}, but {tensor.name} has rows of {columns} elements, "
                        f"no multiple of {wanted.block_elements}",
                        hint=f"write {fallback(wanted, columns).label} for it",
                    )
                )
                break
            chosen[tensor.name] = wanted
    if mistakes:
        raise InputError(*mistakes)


def fallback(wanted: TensorType, columns: int) -> TensorType:
    """llama.cpp's replacement for `wanted` when rows of `columns` elements are no whole number of its blocks."""
    if wanted.fits(columns):
        return wanted
    smaller = _FALLBACKS.get(wanted, wanted)
    return smaller if smaller.fits(columns) else TensorType.F16


@dataclass
class _Mix:
    """One run of llama.cpp's choice: the facts it looks at, and its counters."""

    scheme: str
    base: TensorType
    has_imatrix: bool
    n_layer: int
    n_gqa: int
    is_70b: bool
    tied: bool
    n_attn_v: int
    i_attn_v: int = 0
    i_ffn_down: int = 0

    @classmethod
    def of(cls, mapped: MappedModel, scheme: str, has_imatrix: bool) -> _Mix:
        names = [t.name for t in mapped.tensors]
        shape = mapped.shape
        grouped = shape.n_head != shape.n_head_kv
        return cls(
            scheme=scheme,
            base=SCHEMES[scheme].base,
            has_imatrix=has_imatrix,
            n_layer=shape.n_layer,
            n_gqa=shape.n_head // shape.n_head_kv if shape.n_head_kv else 0,
            is_70b=shape.n_layer == 80 and (mapped.arch == "qwen2" or (mapped.arch == "llama" and grouped)),
            tied="output.weight" not in names,
            n_attn_v=sum(_is_value_like(n) for n in names),
        )

    def choose(self, tensor: TensorMapping) -> TensorType:
        """The type of the next quantizable tensor in order."""
        if not self.base.is_quantized:
            return self.base
        name, columns = tensor.name, tensor.shape[-1]
        wanted = self.base
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            wanted = self._output(columns)
        elif _is_value_like(name):
            wanted = self._value()
            self.i_attn_v += 1
        elif "ffn_down" in name:
            wanted = self._ffn_down()
            self.i_ffn_down += 1
        elif "attn_output.weight" in name:
            wanted = {"q2_k": TensorType.Q3_K, "q3_k_m": TensorType.Q4_K}.get(self.scheme, self.base)
        return fallback(wanted, columns)

    def _output(self, columns: int) -> TensorType:
        if not self.base.fits(columns):
            return TensorType.Q8_0
        return self.base if self.base is TensorType.Q8_0 else TensorType.Q6_K

    def _value(self) -> TensorType:
        """attn_v and attn_qkv: small and sensitive, so they get more bits."""
        wanted = self.base
        if self.scheme == "q2_k":
            wanted = TensorType.Q4_K if self.n_gqa >= 4 else TensorType.Q3_K
        elif self.scheme == "q3_k_m":
            wanted = TensorType.Q5_K if self.i_attn_v < 2 else TensorType.Q4_K
        elif self.scheme in {"iq4_nl", "iq4_xs"} and self.n_gqa >= 4:
            wanted = TensorType.Q5_K
        elif self.scheme in {"q4_k_m", "q5_k_m"} and _more_bits(self.i_attn_v, self.n_attn_v):
            wanted = TensorType.Q6_K
        elif self.scheme == "q4_k_s" and self.i_attn_v < 4:
            wanted = TensorType.Q5_K
        if self.is_70b and wanted in {TensorType.Q3_K, TensorType.Q4_K}:
            return TensorType.Q5_K
        return wanted

    def _ffn_down(self) -> TensorType:
        early = self.i_ffn_down < self.n_layer // 8
        if self.scheme == "q2_k":
            return TensorType.Q3_K
        if self.scheme == "q3_k_m":
            return TensorType.Q5_K if self.i_ffn_down < self.n_layer // 16 else TensorType.Q4_K
        if self.scheme in {"q4_k_m", "q5_k_m"} and _more_bits(self.i_ffn_down, self.n_layer):
            return TensorType.Q6_K
        if early and (self.scheme == "q4_k_s" or (self.scheme in {"iq4_nl", "iq4_xs"} and not self.has_imatrix)):
            return TensorType.Q5_K
        if early and self.has_imatrix and self.scheme in {"q4_0", "q5_0"}:
            return TensorType.Q4_1 if self.scheme == "q4_0" else TensorType.Q5_1
        return self.base


def _is_value_like(name: str) -> bool:
    return "attn_v.weight" in name or "attn_qkv.weight" in name


def _more_bits(index: int, count: int) -> bool:
    """Whether llama.cpp gives layer `index` more bits: the first and last eighth, and every third between."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2
