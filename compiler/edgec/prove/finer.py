"""What to choose where an artifact misses its proof: schemes that are nearer to the source than its own.

Rule: no advice to choose what was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping

_EIGHT_BITS = ("auto", "int8_fine", "fp32")
_ONNX: Mapping[str, tuple[str, ...]] = {
    "int4": _EIGHT_BITS, "int8": _EIGHT_BITS, "int8_static": _EIGHT_BITS, "auto": ("fp32",), "int8_fine": ("fp32",),
}  # fmt: skip
_RKNN: Mapping[str, tuple[str, ...]] = {"w8a8": ("auto", "mixed", "fp16"), "mixed": ("auto", "fp16"), "auto": ("fp16",)}


def finer_onnx(scheme: str) -> str:
    """The beginning of a hint, for onnxruntime."""
    return _chosen(_ONNX.get(scheme, ())) or "report it, for nothing was quantized"


def finer_rknn(scheme: str) -> str:
    """The beginning of a hint, for the NPU."""
    return _chosen(_RKNN.get(scheme, ())) or "use `format: onnx`, for the CPU"


def _chosen(schemes: tuple[str, ...]) -> str:
    if not schemes:
        return ""
    first, *others = (f"`{scheme}`" for scheme in schemes)
    told = [f"`scheme: {first.strip('`')}`", *others]
    return "choose " + (told[0] if len(told) == 1 else f"{', '.join(told[:-1])} or {told[-1]}")
