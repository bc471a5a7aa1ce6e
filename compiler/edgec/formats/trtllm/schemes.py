"""The schemes of this backend, and what TensorRT-LLM calls them.

Rule: one place says which algorithm a recipe's scheme becomes and what the source must be for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from edgec.errors import InputError

KvCache = Literal["fp16", "int8"]


@dataclass(frozen=True)
class Scheme:
    """`algo`: `quant_algo` of config.json. `source_bits`: what the source's linears must have; None: plain weights.

    `engine_bits`: of a weight in the engine; `trtllm-build` quantizes plain weights where they are fewer than 16.
    """

    name: str
    title: str
    algo: str | None
    source_bits: int | None
    engine_bits: int


_ALL = (
    Scheme("fp16", "FP16", None, None, 16),
    Scheme("int8_wo", "INT8 weight-only", "W8A16", None, 8),
    Scheme("int4_wo", "INT4 weight-only", "W4A16", None, 4),
    Scheme("int4_awq", "INT4 AWQ", "W4A16_AWQ", 4, 4),
    # The kernel and the layout of AWQ: GPTQ's and rounded codes are symmetric groups as well.
    Scheme("int4_gptq", "INT4 GPTQ", "W4A16_AWQ", 4, 4),
    Scheme("int4_rtn", "INT4 rounded", "W4A16_AWQ", 4, 4),
    Scheme("int8_sq", "INT8 SmoothQuant", "W8A8_SQ_PER_CHANNEL", 8, 8),
)
SCHEMES: Mapping[str, Scheme] = MappingProxyType({s.name: s for s in _ALL})


def scheme_named(name: str) -> Scheme:
    """The scheme `name`. Raises InputError for one that this backend does not have."""
    if name not in SCHEMES:
        raise InputError.of(
            f"TensorRT-LLM checkpoints have no scheme {name!r}", hint=f"choose one of {', '.join(SCHEMES)}"
        )
    return SCHEMES[name]
