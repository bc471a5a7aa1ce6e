"""What a checkpoint that is quantized already says about itself, from its small files.

Rule: only the layouts that edgec reads exactly are taken (AWQ and GPTQ in 4 bits, modelopt's INT4 AWQ and INT8
SmoothQuant); everything else is refused with what to do, before a weight is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgec.errors import EdgecError, InputError

_CONFIG = "config.json"
MODELOPT_CONFIG = "hf_quant_config.json"

Layout = Literal["awq", "gptq", "modelopt_awq", "modelopt_int8_sq"]
_MODELOPT_LAYOUTS: Mapping[str, Layout] = {
    "W4A16_AWQ": "modelopt_awq",
    "W8A8_SQ_PER_CHANNEL": "modelopt_int8_sq",
}
_DEFAULT_GROUP_SIZE = 128
_UNQUANTIZED = "use the unquantized checkpoint (BF16, F16 or F32) that it was made from; edgec quantizes it itself"


@dataclass(frozen=True)
class Quantization:
    """How the weights of a checkpoint are quantized.

    `layout`: how its tensors are packed. `group_size`: input channels that share a scale, None for one scale per output
    channel; -1 in a file stands for all input channels and stays -1. `symmetric`: the zero point is the middle of the
    codes. `desc_act` is False in all that is taken. `zero_offset`: what is added to a stored zero point (1 for GPTQ's
    first format, which stores it less one).
    """

    layout: Layout
    bits: int
    group_size: int | None
    symmetric: bool
    desc_act: bool = False
    zero_offset: int = 0


def parse_quantization(config: Mapping[str, Any], modelopt_config: bytes | None = None) -> Quantization | None:
    """What `quantization_config` of config.json, or modelopt's own file, says; None for plain weights.

    Raises InputError for a quantization that edgec cannot read.
    """
    settings = config.get("quantization_config")
    if settings is not None and not isinstance(settings, dict):
        raise _refused("unknown", "it is not an object")
    if modelopt_config is not None:
        return _modelopt(_sidecar(modelopt_config), MODELOPT_CONFIG)
    if not settings:
        return None
    method = str(settings.get("quant_method", "unknown"))
    if method == "awq":
        return _awq(settings)
    if method == "gptq":
        return _gptq(settings)
    if method == "modelopt":
        return _modelopt(settings, _CONFIG)
    raise _refused(method, f"it reads awq, gptq and modelopt's {' and '.join(_MODELOPT_LAYOUTS)}")


def refuse_quantized(config: Mapping[str, Any], quantization: Quantization | None) -> None:
    """Raises InputError for a checkpoint that is quantized, where only plain weights will do."""
    if quantization is not None:
        place = _CONFIG if config.get("quantization_config") else MODELOPT_CONFIG
        raise InputError.of(
            f"these weights are quantized already ({quantization.layout}, {quantization.bits} bits)",
            hint="build from the publisher's bf16, f16 or f32 weights; edgec quantizes them",
            place=place,
        )


def _awq(settings: Mapping[str, Any]) -> Quantization:
    version = str(settings.get("version", "gemm")).lower()
    if version != "gemm":
        raise _refused("awq", f"its version is {version!r}, and only 'gemm' has a layout that is read")
    return Quantization(
        layout="awq",
        bits=_four_bits("awq", settings.get("bits", settings.get("w_bit"))),
        group_size=_group_size("awq", settings.get("group_size", settings.get("q_group_size"))),
        # `symmetric` is edgec's own: its zero points are there, because readers expect them, and are all the middle.
        symmetric=not settings.get("zero_point", True) or settings.get("symmetric") is True,
    )


def _gptq(settings: Mapping[str, Any]) -> Quantization:
    bits = _four_bits("gptq", settings.get("bits"))
    if settings.get("desc_act", False):
        raise _refused(
            "gptq",
            "desc_act is true, which permutes its input channels",
            hint=f"take a GPTQ checkpoint with desc_act false, or {_UNQUANTIZED}",
        )
    kind = settings.get("checkpoint_format", "gptq")
    if kind not in ("gptq", "gptq_v2"):
        raise _refused("gptq", f"its checkpoint_format is {str(kind)[:40]!r}, and gptq and gptq_v2 are read")
    return Quantization(
        layout="gptq",
        bits=bits,
        group_size=_group_size("gptq", settings.get("group_size")),
        symmetric=bool(settings.get("sym", False)),
        zero_offset=1 if kind == "gptq" else 0,
    )


def _sidecar(data: bytes) -> Mapping[str, Any]:
    try:
        settings = json.loads(data.decode("utf-8")).get("quantization")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError.of("is not a JSON object", hint="fetch the file again", place=MODELOPT_CONFIG) from error
    if not isinstance(settings, dict):
        raise InputError.of("has no object 'quantization'", hint="fetch the file again", place=MODELOPT_CONFIG)
    return settings


def _modelopt(settings: Mapping[str, Any], place: str) -> Quantization:
    algorithm = str(settings.get("quant_algo"))
    layout = _MODELOPT_LAYOUTS.get(algorithm)
    if layout is None:
        raise _refused(
            "modelopt", f"its quant_algo is {algorithm}; {' and '.join(_MODELOPT_LAYOUTS)} are read", place=place
        )
    cache = settings.get("kv_cache_quant_algo") or settings.get("kv_cache_scheme")
    if cache:
        raise _refused("modelopt", f"its KV cache is quantized ({str(cache)[:40]})", place=place)
    if settings.get("has_zero_point"):
        raise _refused("modelopt", "has_zero_point is true", place=place)
    if layout == "modelopt_int8_sq":
        return Quantization(layout=layout, bits=8, group_size=None, symmetric=True)
    group_size = _group_size("modelopt", settings.get("group_size", _DEFAULT_GROUP_SIZE))
    return Quantization(layout=layout, bits=4, group_size=group_size, symmetric=True)


def _four_bits(method: str, bits: object) -> int:
    if bits != 4:
        raise _refused(method, f"it has {bits if bits is not None else 'an unknown number of'} bits, and 4 are read")
    return 4


def _group_size(method: str, size: object) -> int:
    if type(size) is int and (size > 0 or size == -1):
        return size
    raise _refused(method, f"its group_size is {str(size)[:40]}, which must be a number of channels, or -1 for all")


def _refused(method: str, why: str, *, hint: str = _UNQUANTIZED, place: str = _CONFIG) -> EdgecError:
    return InputError.of(
        f"the checkpoint is quantized already (quantization_config.quant_method: {method[:40]}) "
        f"in a way that edgec cannot read: {why}",
        hint=hint,
        place=place,
    )
