"""The inputs of a graph that is no text model: their shapes, and how an image becomes numbers.

Rule: what is written here is all that a program on the device must do to an image before it runs the model; the same
settings make the samples that calibrate and prove, and stand in the bundle's manifest.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgec.documents.typed import mistake
from edgec.recipe.document import Document

Length = Annotated[int, Field(ge=1, le=1 << 24)]
Colour = Literal["rgb", "bgr", "grey"]
_CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}


class ImageInput(Document):
    """How an image becomes the numbers of an input: resized, then `(pixel x scale - mean) / std`, pixels 0 to 255."""

    size: tuple[Length, Length] | None = Field(
        None,
        description="Height and width in pixels. Default: those of the input's shape.",
        examples=[[640, 640]],
    )
    resize: Literal["stretch", "crop", "letterbox"] = Field(
        "stretch",
        description="`stretch`: both sides to the size; `crop`: the short side to `shortest_edge`, then the middle; "
        "`letterbox`: the long side to the size, the rest filled with `fill`, the image in the middle.",
    )
    shortest_edge: Length | None = Field(
        None, description="Of `crop`: pixels of the short side before the middle is cut out. Default: that of the size."
    )
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "bilinear", description="How pixels between pixels are found, by Pillow's names."
    )
    fill: int = Field(114, ge=0, le=255, description="Of `letterbox`: the pixel value of the border.")
    scale: float = Field(1 / 255, gt=0, description="Pixels are multiplied by this first.")
    mean: tuple[float, ...] = Field(
        (0.0,), min_length=1, max_length=3, description="Subtracted then: one number, or one for each channel."
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0,), min_length=1, max_length=3, description="Divided by at last: one number, or one for each channel."
    )
    colour: Colour = Field("rgb", description="The channels and their order.")
    layout: Literal["nchw", "nhwc"] = Field("nchw", description="Where the channels stand in the input's shape.")

    @property
    def channels(self) -> int:
        """How many channels the input has."""
        return _CHANNELS[self.colour]

    @model_validator(mode="after")
    def _fits_together(self) -> ImageInput:
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, self.channels):
                hint = f"give one number, or {self.channels}"
                raise mistake(f"`{name}` has {count} numbers, and `{self.colour}` {self.channels} channels", hint,
                              at=name)  # fmt: skip
        if self.shortest_edge is not None and self.resize != "crop":
            hint = "remove `shortest_edge`, or set `resize: crop`"
            raise mistake(f"`{self.resize}` has no use for `shortest_edge`", hint, at="shortest_edge")
        if "fill" in self.model_fields_set and self.resize != "letterbox":
            raise mistake(f"`{self.resize}` has no border", "remove `fill`, or set `resize: letterbox`", at="fill")
        return self


class SourceInput(Document):
    """One input of a graph."""

    shape: tuple[Length, ...] | None = Field(
        None,
        description="All dimensions, batch included; fixes those that the graph leaves open.",
        examples=[[1, 3, 640, 640]],
    )
    image: ImageInput | None = Field(
        None, description="Samples are images, and become this input as it says. Without it, samples are .npy or .npz."
    )
