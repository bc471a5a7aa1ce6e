"""The artifact for Rockchip's NPU: an encoder, an image classifier or a graph of your own as one .rknn file.

Rule: settings only; which routes a scheme tries is the format's business (`edgec.formats.rknn.routes`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgec.documents.typed import mistake
from edgec.recipe.document import Document, RelativePath

RknnScheme = Literal["auto", "w8a8", "mixed", "fp16"]


class RknnQuantize(Document):
    """How a model is compiled for the NPU."""

    scheme: RknnScheme = Field(
        "auto",
        description="`w8a8`: weights and activations in 8 bits; `mixed`: the same, layers that lose too much in 16-bit "
        "floats; `fp16`: all in 16-bit floats; `auto`: the smallest of them that passes what the proof demands, on the "
        "calibration text.",
    )
    calibration: RelativePath | None = Field(
        None,
        description="A UTF-8 text with one passage per line, a folder of images for an image classifier, or samples of "
        "an .onnx file (images, .npy or .npz), relative to the recipe. All schemes but `fp16` need it.",
        examples=["calibration.txt"],
    )
    max_lines: int = Field(64, ge=8, le=1024, description="Lines, images or samples to run, evenly over them.")

    @model_validator(mode="after")
    def _is_used(self) -> RknnQuantize:
        runs = self.scheme != "fp16"
        if runs and self.calibration is None:
            hint = (
                "add `calibration:` like the model's use: passages, one per line, or a folder of images, or samples of "
                "an .onnx file; `fp16` needs none"
            )
            raise mistake(f"`{self.scheme}` runs the model on a text or on samples, and none is named", hint)
        if not runs and self.calibration is not None:
            hint = "remove `calibration`, or choose `auto`, `mixed` or `w8a8`"
            raise mistake("`fp16` looks at no text and no samples, so a calibration has no use", hint, at="calibration")
        if not runs and "max_lines" in self.model_fields_set:
            raise mistake(
                "`fp16` looks at no text and no samples", "remove `max_lines`, or choose another scheme", at="max_lines"
            )
        return self


class RknnArtifact(Document):
    """A model for the NPU of an RK3588, of fixed shapes: of a text model, the recipe's `context`."""

    format: Literal["rknn"] = Field(description="The kind of file to make.", examples=["rknn"])
    quantize: RknnQuantize = Field(description="How it is compiled.")
