"""Rotary position settings, in the old (`rope_theta`, `rope_scaling`) and new (`rope_parameters`) spelling.

Rule: a kind of scaling is either translated exactly or refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ....errors import InputError
from .config import Config
from .metadata import MetadataWriter, as_float32
from .tensors import TensorLedger


@dataclass(frozen=True)
class Rope:
    """Rotary settings of one kind of layer. `scaling` holds the parameters of `kind`."""

    theta: float
    kind: str
    scaling: Config


def read_rope(config: Config, default_theta: float) -> Rope:
    """The rotary settings of a model that has one kind of layer."""
    scaling = config.section("rope_parameters") or config.section("rope_scaling") or Config({}, config.place)
    kind = scaling.text("rope_type", "type", default="default").lower()
    theta = scaling.optional_number("rope_theta") or config.number("rope_theta", default=default_theta)
    return Rope(theta, kind, scaling)


def require_kind(rope: Rope, kinds: tuple[str, ...]) -> None:
    """Refuses a scaling llama.cpp would not compute in this architecture."""
    if rope.kind not in kinds:
        raise InputError.of(
            f"rope_type {rope.kind!r} cannot be converted; this architecture knows {', '.join(kinds)}",
            place=rope.scaling.place,
            hint="use the publisher's original rope settings",
        )


def write_rope(rope: Rope, metadata: MetadataWriter) -> None:
    """Writes base and scaling as metadata (llama3 factors are a tensor: `llama3_factors`)."""
    if rope.kind == "linear":
        metadata.text("rope.scaling.type", "linear")
        metadata.number("rope.scaling.factor", rope.scaling.number("factor"))
    metadata.number("rope.freq_base", rope.theta)


def take_llama3_factors(rope: Rope, head_dim: int, ledger: TensorLedger) -> None:
    """Adds `rope_freqs.weight`: what each frequency is divided by, for rope_type `llama3`.

    Wavelengths below the high-frequency limit stay, those above the low-frequency limit are stretched by `factor`,
    and between them the frequency is blended linearly.
    """
    if rope.kind != "llama3":
        return
    factor = rope.scaling.number("factor")
    low = rope.scaling.number("low_freq_factor")
    high = rope.scaling.number("high_freq_factor")
    trained = rope.scaling.number("original_max_position_embeddings")
    if high <= low:
        raise rope.scaling.wrong("high_freq_factor", f"larger than low_freq_factor ({low:g})")
    values = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope.theta ** (i / head_dim)
        blend = min(1.0, max(0.0, (trained / wavelength - low) / (high - low)))
        values.append(as_float32(1 / ((1 - blend) / factor + blend)))
    ledger.computed("rope_freqs.weight", tuple(values))
