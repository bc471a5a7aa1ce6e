"""An RKNN artifact before it is made: its file and an upper bound of its size, and what it takes on the device.

Rule: the bound is held: a larger file is an error of the step that made it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.formats.rknn.routes import ROUTES, Route

# Code of the NPU's layers beside the weights: measured 1.5 MB in int8 and 0.9 MB in float16 for six layers
# (docs/rknn.md); the bound has more than twice that.
_GRAPH_BYTES = 1 << 20
_LAYER_BYTES = 512 << 10
_FLOAT_BYTES, _HALF_BYTES = 4, 2


@dataclass(frozen=True)
class RknnLayout:
    """`size_bytes`: a bound of the file; `device_bytes`: of its weights as loaded; `bytes_by_type`: by type."""

    scheme: str
    routes: tuple[Route, ...]
    size_bytes: int
    bytes_by_type: dict[str, int]

    @property
    def device_bytes(self) -> int:
        """Bytes of the weights as the device holds them."""
        return sum(self.bytes_by_type.values())

    @property
    def file(self) -> str:
        """Its name; artifacts of one bundle lie in one folder."""
        return f"model-{self.scheme}.rknn"


def plan_layout(*, embeddings: int, others: int, layers: int, scheme: str) -> RknnLayout:
    """The layout of a model with so many weights in embedding tables and elsewhere, in `scheme`."""
    routes = ROUTES[scheme]
    # `auto` may choose any of its routes, and a mixed model may be float16 in all layers: the largest counts.
    is_int8 = all(route.dtype == "w8a8" and route.mixed_cosine is None for route in routes)
    each = 1 if is_int8 else _HALF_BYTES
    size = each * (embeddings + others) + _GRAPH_BYTES + layers * _LAYER_BYTES
    # Tables are looked up by the CPU, in float32, whatever the file holds: the toolkit's own statistics say so.
    held = {"i8" if is_int8 else "f16": each * others, "f32": _FLOAT_BYTES * embeddings}
    return RknnLayout(scheme, routes, size, held)
