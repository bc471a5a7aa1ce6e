"""The routes from a float32 graph to a quantized one: which a scheme tries, and what they are.

Rule: a route is data that the script in the toolchain understands; its settings are part of the action's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["dynamic", "static", "weights", "blocks"]
# Sizes of candidates that differ by less than this share count as equal: the nearer to the source then wins.
SAME_SIZE = 0.02
# Of those, one of integer products wins over others when its error is at most this share of what is allowed: in a
# browser it is three times as fast, natively twice (docs/onnx.md).
SPARE = 0.25


@dataclass(frozen=True)
class Route:
    """One way to quantize.

    `method`: `dynamic` (integer products, scales of activations at run time) and `static` (scales from calibration)
    are onnxruntime's own quantizer, `weights` writes int8 weights with a scale per output and DequantizeLinear,
    `blocks` int4 weights with a scale and a zero point for each 32, and MatMulNBits.
    `embedding`: `tensor` (onnxruntime's: one scale for the table), `row` (one for each token, as standard operators) or
    `block` (int4, GatherBlockQuantized). `keep_attention`: of `blocks`: 8 bits where no feed-forward is.
    `every_op`: all operators that onnxruntime quantizes, not matrix products alone; `keep_down`: the second matrix of
    each feed-forward stays float32; `activation_bits`: of `static`; `evened`: `dynamic` with channels evened out
    on the calibration text, and a scale for each token before the second matrix of each feed-forward.
    """

    name: str
    title: str
    method: Method
    embedding: Literal["tensor", "row", "block"] = "row"
    per_channel: bool = True
    reduce_range: bool = False
    every_op: bool = False
    keep_down: bool = False
    keep_attention: bool = False
    activation_bits: Literal[8, 16] = 8
    evened: bool = False

    @property
    def needs_text(self) -> bool:
        """Whether it runs the model on the calibration text."""
        return self.method == "static" or self.evened


_DYNAMIC = Route("dynamic", "dynamic, a scale per channel", "dynamic")
_EVEN = Route("dynamic-even", "dynamic, a scale per channel, channels and tokens evened out", "dynamic", evened=True)
_STATIC = Route("static-u16", "static QDQ, activations of 16 bits", "static", activation_bits=16)
_WEIGHTS = Route("weights", "weights alone, a scale per channel; activations in blocks, by the runtime", "weights")
_INT4 = Route("int4", "4 bits, a scale for each 32 weights", "blocks", "block")
_INT4_FEED = Route("int4-feed-forward", "4 bits, attention in 8 bits", "blocks", "block", keep_attention=True)
_OTHERS = (
    Route("dynamic-tensor", "dynamic, a scale per tensor (onnxruntime's default)", "dynamic", "tensor", False),
    Route("dynamic-all", "dynamic, a scale per channel, embedding with one scale", "dynamic", "tensor"),
    Route("dynamic-7bit", "dynamic, a scale per channel, weights of 7 bits", "dynamic", reduce_range=True),
    Route("static-all", "static QDQ, every operator (onnxruntime's default)", "static", "tensor", False, every_op=True),
    Route("static-u8", "static QDQ, matrix products, activations of 8 bits", "static"),
    Route("dynamic-keep", "dynamic, the second feed-forward matrices in float32", "dynamic", keep_down=True),
)

ROUTES: dict[str, tuple[Route, ...]] = {
    "fp32": (),
    "int8": (_DYNAMIC,),
    "int8_static": (_STATIC,),
    "int8_fine": (_WEIGHTS,),
    "int4": (_INT4,),
    "auto": (_INT4, _INT4_FEED, *_OTHERS[:3], _DYNAMIC, _EVEN, _WEIGHTS, *_OTHERS[3:5], _STATIC, _OTHERS[5]),
}

# Names of the routes whose products the runtime computes in integers.
INTEGER = frozenset(route.name for routes in ROUTES.values() for route in routes if route.method == "dynamic")
