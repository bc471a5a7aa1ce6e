"""An .rkllm file before it is made: what a decoder must be for it, and bounds of its size.

Rule: from the published interface of RKLLM 1.3.0; nothing here was compared with a file of the toolkit, which nobody
here has. Bounds are such that a file beyond them cannot be what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import InputError
from edgec.quantize.architecture import Decoder
from edgec.recipe.rkllm import GROUPS

MAX_CONTEXT = 16384
CONTEXT_STEP = 32
_HALF_BYTES = 2
# Tokenizer, graph and header beside the weights.
_OTHER_BYTES = 64 << 20
# Fewer bytes than this share of one for each weight of a linear are not 8 bits.
_LEAST_SHARE = 0.9


@dataclass(frozen=True)
class RkllmLayout:
    """`least_bytes`, `size_bytes`: bounds of the file; `held_bytes`: of the weights on the device, one for each."""

    scheme: str
    context: int
    least_bytes: int
    size_bytes: int
    held_bytes: int

    @property
    def file(self) -> str:
        """Its name; artifacts of one bundle lie in one folder."""
        return f"model-{self.scheme}.rkllm"


def plan_layout(decoder: Decoder, scheme: str, context: int) -> RkllmLayout:
    """The layout of the decoder in `scheme`, for at most `context` tokens. Raises InputError: groups do not fit it."""
    shapes = decoder.linear_shapes()
    group = GROUPS.get(scheme)
    odd = [name for name, (outputs, _) in shapes.items() if group is not None and outputs % group]
    if odd:
        fits = [name for name, size in GROUPS.items() if not any(outputs % size for outputs, _ in shapes.values())]
        raise InputError.of(
            f"`{scheme}` needs linears whose outputs are a multiple of {group}, and {odd[0]} has {shapes[odd[0]][0]}",
            hint=f"use {' or '.join(f'`{name}`' for name in ('w8a8', *fits))}",
        )
    linears = decoder.layers * sum(outputs * inputs for outputs, inputs in shapes.values())
    return RkllmLayout(
        scheme=scheme,
        context=context,
        least_bytes=int(_LEAST_SHARE * linears),
        # The model in 16 bits: what is larger is not quantized.
        size_bytes=_HALF_BYTES * decoder.parameters + _OTHER_BYTES,
        held_bytes=decoder.parameters,
    )
