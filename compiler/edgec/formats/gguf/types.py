"""GGUF tensor types and quantization schemes, with the numbers of the GGUF specification and of llama.cpp.

Rule: only types that ggml quantizes safely without an importance matrix are here, so none can make it abort.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class TensorType(Enum):
    """A tensor's type: its name in recipes, ggml's number, elements and bytes of one block."""

    F32 = ("f32", 0, 1, 4)
    F16 = ("f16", 1, 1, 2)
    BF16 = ("bf16", 30, 1, 2)
    Q8_0 = ("q8_0", 8, 32, 34)
    Q6_K = ("q6_k", 14, 256, 210)
    Q5_K = ("q5_k", 13, 256, 176)
    Q5_0 = ("q5_0", 6, 32, 22)
    Q5_1 = ("q5_1", 7, 32, 24)
    Q4_K = ("q4_k", 12, 256, 144)
    Q4_0 = ("q4_0", 2, 32, 18)
    Q4_1 = ("q4_1", 3, 32, 20)
    IQ4_XS = ("iq4_xs", 23, 256, 136)
    IQ4_NL = ("iq4_nl", 20, 32, 18)
    Q3_K = ("q3_k", 11, 256, 110)
    Q2_K = ("q2_k", 10, 256, 84)

    def __init__(self, label: str, ggml_id: int, block_elements: int, block_bytes: int) -> None:
        self.label = label
        self.ggml_id = ggml_id
        self.block_elements = block_elements
        self.block_bytes = block_bytes

    @property
    def is_quantized(self) -> bool:
        """Whether a block holds more than one element."""
        return self.block_elements > 1

    def fits(self, columns: int) -> bool:
        """Whether rows of `columns` elements are whole blocks. ggml does not check this and writes garbage."""
        return columns % self.block_elements == 0

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row of `columns` elements. Raises ValueError when the row is not a whole number of blocks."""
        if not self.fits(columns):
            raise ValueError(f"{columns} columns are not a multiple of {self.label}'s block of {self.block_elements}")
        return columns // self.block_elements * self.block_bytes

    @classmethod
    def of_label(cls, label: str) -> TensorType:
        """The type that recipes call `label`. Raises KeyError."""
        return _BY_LABEL[label]

    @classmethod
    def of_ggml_id(cls, ggml_id: int) -> TensorType:
        """The type with ggml's number. Raises KeyError."""
        return _BY_GGML_ID[ggml_id]


_BY_LABEL = {t.label: t for t in TensorType}
_BY_GGML_ID = {t.ggml_id: t for t in TensorType}


@dataclass(frozen=True)
class SchemeInfo:
    """A scheme: llama.cpp's LLAMA_FTYPE number (`general.file_type`) and the type most tensors get."""

    file_type: int
    base: TensorType


# Recipe scheme -> what llama.cpp knows it as.
SCHEMES: Mapping[str, SchemeInfo] = MappingProxyType(
    {
        "f32": SchemeInfo(0, TensorType.F32),
        "f16": SchemeInfo(1, TensorType.F16),
        "bf16": SchemeInfo(32, TensorType.BF16),
        "q8_0": SchemeInfo(7, TensorType.Q8_0),
        "q6_k": SchemeInfo(18, TensorType.Q6_K),
        "q5_k_m": SchemeInfo(17, TensorType.Q5_K),
        "q5_k_s": SchemeInfo(16, TensorType.Q5_K),
        "q5_0": SchemeInfo(8, TensorType.Q5_0),
        "q4_k_m": SchemeInfo(15, TensorType.Q4_K),
        "q4_k_s": SchemeInfo(14, TensorType.Q4_K),
        "q4_0": SchemeInfo(2, TensorType.Q4_0),
        "q4_1": SchemeInfo(3, TensorType.Q4_1),
        "iq4_xs": SchemeInfo(30, TensorType.IQ4_XS),
        "iq4_nl": SchemeInfo(25, TensorType.IQ4_NL),
        "q3_k_m": SchemeInfo(12, TensorType.Q3_K),
        "q2_k": SchemeInfo(10, TensorType.Q2_K),
    }
)
