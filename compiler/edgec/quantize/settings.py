"""What a quantization is asked to do, as typed data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["rtn", "awq", "gptq", "smoothquant"]


@dataclass(frozen=True)
class QuantizeSettings:
    """`group_size`: input channels that share a scale (4-bit methods). `max_tokens`: of the calibration text, from its
    start; `sequence_tokens`: length of the windows it is cut into, at most the model's context.

    `symmetric` must be True: TensorRT Edge-LLM 0.11 clamps `code - zero point + 8` to 0..15, which damages others.
    """

    method: Method
    group_size: int = 128
    symmetric: bool = True
    max_tokens: int = 16384
    sequence_tokens: int = 512

    @property
    def bits(self) -> int:
        """Bits per weight."""
        return 8 if self.method == "smoothquant" else 4

    @property
    def is_calibrated(self) -> bool:
        """Whether the method looks at activations."""
        return self.method != "rtn"
