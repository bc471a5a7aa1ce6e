"""Rotary position settings, in the old (`rope_theta`, `rope_scaling`) and new (`rope_parameters`) spelling.

Rule: a kind of scaling is either translated exactly or refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgec.errors import InputError
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.metadata import MetadataWriter, as_float32
from edgec.formats.gguf.architectures.tensors import TensorLedger

# Nested settings, one per kind of layer; only Gemma 3 is read so.
LAYER_KINDS = ("full_attention", "sliding_attention")
# The rotations between which yarn blends: in llama.cpp, the file's values count for grok and mistral3 alone.
_YARN_BETAS = {"beta_fast": 32, "beta_slow": 1}


@dataclass(frozen=True)
class Rope:
    """Rotary settings of one kind of layer. `scaling` holds the parameters of `kind`."""

    theta: float
    kind: str
    scaling: Config
    original_context: int
    partial: float = 1.0


def read_rope(config: Config, kinds: tuple[str, ...]) -> Rope:
    """The settings of a model whose layers all rotate alike. Refuses a scaling that is not one of `kinds`."""
    scaling = config.section("rope_parameters") or config.section("rope_scaling") or Config({}, config.place)
    for key in LAYER_KINDS:
        if key in scaling.values:
            raise scaling.wrong(key, "absent: this architecture rotates all its layers alike")
    theta = scaling.optional_number("rope_theta") or config.number("rope_theta")
    return make_rope(config, scaling, theta, kinds)


def make_rope(config: Config, scaling: Config, theta: float, kinds: tuple[str, ...]) -> Rope:
    """Rotary settings from the object that holds them."""
    kind = scaling.text("rope_type", "type", default="default").lower()
    if kind not in kinds:
        raise InputError.of(
            f"rope type {kind!r} cannot be converted; this architecture knows {', '.join(kinds)}",
            place=scaling.place,
            hint="use the publisher's original rope settings",
        )
    # A value outside the rope settings wins, as in transformers; without any, the model was not stretched.
    original = config.optional_integer("original_max_position_embeddings") or scaling.optional_integer(
        "original_max_position_embeddings"
    )
    partial = scaling.optional_number("partial_rotary_factor") or config.optional_number("partial_rotary_factor")
    return Rope(theta, kind, scaling, original or config.integer("max_position_embeddings"), partial or 1.0)


def require_whole(rope: Rope) -> None:
    """Refuses rotating only a part of each head."""
    if rope.partial != 1.0:
        raise rope.scaling.wrong("partial_rotary_factor", "1: this architecture rotates whole heads")


def write_rope(rope: Rope, metadata: MetadataWriter) -> None:
    """Writes base and scaling as metadata (llama3 factors are a tensor: `add_llama3_factors`)."""
    if rope.kind == "linear":
        metadata.text("rope.scaling.type", "linear")
        metadata.number("rope.scaling.factor", rope.scaling.number("factor"))
    if rope.kind == "yarn":
        _write_yarn(rope, metadata)
    metadata.number("rope.freq_base", rope.theta)


def _write_yarn(rope: Rope, metadata: MetadataWriter) -> None:
    scaling = rope.scaling
    scaling.with_defaults({"truncate": True}).require("truncate", (True,), "llama.cpp rounds the corrected range")
    factor = scaling.number("factor")
    if factor <= 1:
        raise scaling.wrong("factor", "larger than 1")
    metadata.text("rope.scaling.type", "yarn")
    metadata.number("rope.scaling.factor", factor)
    metadata.integer("rope.scaling.original_context_length", rope.original_context)
    for key, value in _YARN_BETAS.items():
        if scaling.get(key) is not None:
            scaling.require(key, (value, float(value)), "llama.cpp reads no other for these architectures")
            metadata.number(f"rope.scaling.yarn_{key}", value)
    # llama.cpp multiplies by 1 + 0.1 ln(factor) on its own and ignores `yarn_attn_factor`.
    usual = 1 + 0.1 * math.log(factor)
    wanted = _yarn_attention(scaling, factor)
    if not math.isclose(wanted, usual, rel_tol=1e-6):
        metadata.number("rope.scaling.attn_factor", wanted / usual)


def _yarn_attention(scaling: Config, factor: float) -> float:
    stated = scaling.optional_number("attention_factor")
    if stated is not None:
        return stated
    log = 0.1 * math.log(factor)
    mscale, over = scaling.get("mscale"), scaling.get("mscale_all_dim")
    if mscale and over:
        return (scaling.number("mscale") * log + 1) / (scaling.number("mscale_all_dim") * log + 1)
    return log + 1


def add_llama3_factors(rope: Rope, head_dim: int, ledger: TensorLedger) -> None:
    """Adds `rope_freqs.weight`: what each frequency is divided by, for rope type `llama3`.

    Wavelengths below the high-frequency limit stay, those above the low-frequency limit are stretched by `factor`,
    and between them the frequency is blended linearly.
    """
    if rope.kind != "llama3":
        return
    low, high = rope.scaling.number("low_freq_factor"), rope.scaling.number("high_freq_factor")
    if high <= low:
        raise rope.scaling.wrong("high_freq_factor", f"larger than low_freq_factor ({low:g})")
    factor = rope.scaling.number("factor")
    wavelengths = (_wavelength(rope.theta, i, head_dim) for i in range(0, head_dim, 2))
    values = tuple(_llama3_factor(w, factor, low, high, rope.original_context) for w in wavelengths)
    ledger.add_computed("rope_freqs.weight", values)


# Both round to float32 where llama.cpp's converter does, and divide as torch does, by a reciprocal: the tensor is then
# the converter's bit by bit.
def _wavelength(theta: float, index: int, head_dim: int) -> float:
    frequency = as_float32(1 / as_float32(theta ** as_float32(index / head_dim)))
    return as_float32(as_float32(1 / frequency) * as_float32(2 * math.pi))


def _llama3_factor(wavelength: float, factor: float, low: float, high: float, original_context: int) -> float:
    if wavelength < original_context / high:
        return 1.0
    if wavelength > original_context / low:
        return as_float32(factor)
    rotations = as_float32(as_float32(1 / wavelength) * original_context)
    blend = as_float32(as_float32(rotations - low) / (high - low))
    return as_float32(1 / as_float32(as_float32(as_float32(1 - blend) / factor) + blend))
