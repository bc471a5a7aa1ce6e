"""The routes from a float32 graph to a model for the NPU: which a scheme tries, from the smallest to the largest.

Rule: a route is data that the script in the toolchain understands; its settings are part of the action's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Scores of padding before a softmax. In float16 the lowest float32 is minus infinity; in int8 a score that low leaves
# one step for all others, and attention is lost (docs/rknn.md).
_FLOAT_MASK = -10000.0
_INT8_MASK = -20.0


@dataclass(frozen=True)
class Route:
    """One way to compile. `dtype`: of weights and activations on the NPU.

    `mixed_cosine`: layers whose outputs agree less than this with float32 stay float16 (the toolkit's `auto_hybrid`);
    None: all are `dtype`. `mask`: what stands in the place of the graph's lowest number.
    """

    name: str
    title: str
    dtype: Literal["fp16", "w8a8"]
    mask: float
    algorithm: Literal["normal", "mmse", "kl_divergence"] = "normal"
    mixed_cosine: float | None = None

    @property
    def needs_text(self) -> bool:
        """Whether ranges are found on a text."""
        return self.dtype == "w8a8"


_W8A8 = Route("w8a8", "weights and activations in int8", "w8a8", _INT8_MASK)
_MIXED = Route("mixed", "int8, layers that lose too much in float16", "w8a8", _INT8_MASK, mixed_cosine=0.999)
_FP16 = Route("fp16", "weights and activations in float16", "fp16", _FLOAT_MASK)

ROUTES: dict[str, tuple[Route, ...]] = {
    "w8a8": (_W8A8,),
    "mixed": (_MIXED,),
    "fp16": (_FP16,),
    "auto": (_W8A8, _MIXED, _FP16),
}
