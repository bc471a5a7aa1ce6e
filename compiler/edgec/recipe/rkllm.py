"""The artifact for language models on Rockchip's NPU: one .rkllm file, made by a toolkit that the user brings.

Rule: settings only. Schemes of 4 bits, which other chips of Rockchip have, can be written, so that the target says why
it refuses them and what to use instead.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgec.documents.typed import mistake
from edgec.recipe.document import Document, RelativePath

RkllmScheme = Literal[
    "w8a8", "w8a8_g128", "w8a8_g256", "w8a8_g512", "w4a16", "w4a16_g32", "w4a16_g64", "w4a16_g128",
]  # fmt: skip
# Columns that share a scale, of schemes with groups.
GROUPS = {"w8a8_g128": 128, "w8a8_g256": 256, "w8a8_g512": 512}


class RkllmQuantize(Document):
    """How a language model is compiled for the NPU."""

    scheme: RkllmScheme = Field(
        "w8a8",
        description="`w8a8`: weights and activations in 8 bits; `w8a8_g128`, `w8a8_g256`, `w8a8_g512`: the same, with "
        "a scale for every so many weights. An RK3588 has no 4 bits.",
    )
    calibration: RelativePath | None = Field(
        None,
        description="A UTF-8 text with one passage per line, relative to the recipe: the toolkit quantizes on it.",
        examples=["calibration.txt"],
    )
    max_lines: int = Field(32, ge=8, le=1024, description="Lines of the calibration text to run, evenly over it.")

    @model_validator(mode="after")
    def _has_a_text(self) -> RkllmQuantize:
        # A scheme of 4 bits is refused as such.
        if self.calibration is None and self.scheme.startswith("w8a8"):
            hint = "add `calibration:` with passages like the model's use, one per line"
            raise mistake(f"`{self.scheme}` runs the model on a text, and none is named", hint)
        return self


class RkllmArtifact(Document):
    """A language model for the NPU of an RK3588, by Rockchip's RKLLM toolkit, a wheel named in EDGEC_RKLLM_WHEEL."""

    format: Literal["rkllm"] = Field(description="The kind of file to make.", examples=["rkllm"])
    quantize: RkllmQuantize = Field(description="How it is compiled.")
