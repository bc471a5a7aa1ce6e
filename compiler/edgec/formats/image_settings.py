"""How an image becomes a model's input: sizes, resampling, scale, and what transformers' own processors do.

Rule: a processor whose arithmetic is not known here is refused; a guess would be a model that sees other pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgec.errors import InputError
from edgec.recipe.inputs import ImageInput

PREPROCESSOR = "preprocessor_config.json"
# Of files that count as images.
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
# In the order of their numbers in Pillow, which the files of transformers use.
RESAMPLES: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
Three = tuple[float, float, float]
Mode = Literal["stretch", "crop", "letterbox", "none"]


@dataclass(frozen=True)
class ImageSettings:
    """From pixels to numbers, in this order: resize, crop about the centre, `x * scale`, `(x - mean) / std`.

    `height`, `width`: of the result, in pixels. `mode`: `stretch` (to `resized`, the sides' ratio changes), `crop`
    (its shortest side gets `edge` pixels, the ratio stays), `letterbox` (the whole image, the rest is `fill`), `none`.
    A crop larger than the image puts black around it. `mean`, `std`: one number, or one a channel. `channels_last`:
    NHWC.
    """

    height: int
    width: int
    mode: Mode = "stretch"
    resized: tuple[int, int] | None = None
    edge: int | None = None
    resample: Resample = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    channels_last: bool = False
    fill: int = 114

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image as an array."""
        channels = 1 if self.colour == "grey" else 3
        return (self.height, self.width, channels) if self.channels_last else (channels, self.height, self.width)


@dataclass(frozen=True)
class _Processor:
    """What a class of transformers assumes where its file says nothing. `size`, `crop`: pixels, None: has no crop."""

    size: int
    crop: int | None
    resample: int
    keeps_ratio: bool
    mean: Three = (0.5, 0.5, 0.5)
    std: Three = (0.5, 0.5, 0.5)
    crop_share: bool = False


_BILINEAR, _BICUBIC = RESAMPLES.index("bilinear"), RESAMPLES.index("bicubic")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_PROCESSORS: Mapping[str, _Processor] = {
    "ViT": _Processor(224, None, _BILINEAR, keeps_ratio=False),
    "DeiT": _Processor(256, 224, _BICUBIC, keeps_ratio=False),
    "ConvNext": _Processor(384, None, _BILINEAR, keeps_ratio=True, crop_share=True),
    "MobileNetV1": _Processor(256, 224, _BILINEAR, keeps_ratio=True),
    "MobileNetV2": _Processor(256, 224, _BILINEAR, keeps_ratio=True),
    "Bit": _Processor(224, 224, _BICUBIC, keeps_ratio=True, mean=_CLIP_MEAN, std=_CLIP_STD),
}
_ENDINGS = ("ImageProcessorFast", "ImageProcessor", "FeatureExtractor")
_STRETCHED_FROM = 384
_CROP_SHARE = 224 / 256
_HINT = "compare it with the file of the model's publisher"


def preprocessor_settings(files: Mapping[str, bytes]) -> ImageSettings:
    """The settings of a checkpoint's preprocessor_config.json. Raises InputError for what is not known here."""
    if PREPROCESSOR not in files:
        hint = "copy it from the model's page: it says how images become numbers"
        raise InputError.of(f"the checkpoint has no {PREPROCESSOR}", hint=hint)
    try:
        document = json.loads(files[PREPROCESSOR])
    except ValueError as error:
        raise InputError.of(f"is not JSON: {error}", hint="download it again", place=PREPROCESSOR) from error
    if not isinstance(document, dict):
        raise InputError.of("is not a JSON object", hint="download it again", place=PREPROCESSOR)
    return _settings(document, _processor(document))


def input_settings(image: ImageInput, size: tuple[int, int]) -> ImageSettings:
    """The settings that a recipe gives an input. `size`: the input's height and width, where the recipe has none."""
    height, width = image.size or size
    return ImageSettings(
        height=height,
        width=width,
        mode=image.resize,
        edge=image.shortest_edge,
        resample=image.resample,
        scale=image.scale,
        mean=image.mean,
        std=image.std,
        colour=image.colour,
        channels_last=image.layout == "nhwc",
        fill=image.fill,
    )


def _processor(document: Mapping[str, Any]) -> _Processor:
    named = document.get("image_processor_type") or document.get("feature_extractor_type")
    stem = str(named)
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    if stem not in _PROCESSORS:
        what = f"the image processor {named!r} is not known here" if named else "it names no image processor"
        known = ", ".join(f"{name}ImageProcessor" for name in _PROCESSORS)
        raise InputError.of(what, place=PREPROCESSOR, hint=f"known are {known}; export the model yourself and give "
                            "the .onnx file with `source.inputs.<name>.image`")  # fmt: skip
    return _PROCESSORS[stem]


def _settings(document: Mapping[str, Any], kind: _Processor) -> ImageSettings:
    number = document.get("resample", kind.resample)
    if not isinstance(number, int) or not 0 <= number < len(RESAMPLES):
        raise InputError.of(f"resample is {number!r}", hint=_HINT, place=PREPROCESSOR)
    normalizes = document.get("do_normalize", True)
    mode, resized, edge, (height, width) = _sizes(document, kind)
    return ImageSettings(
        height=height,
        width=width,
        mode=mode,
        resized=resized,
        edge=edge,
        resample=RESAMPLES[number],
        scale=float(document.get("rescale_factor", 1 / 255)) if document.get("do_rescale", True) else 1.0,
        mean=_three(document, "image_mean", kind.mean) if normalizes else (0.0,),
        std=_three(document, "image_std", kind.std) if normalizes else (1.0,),
    )


_Sizes = tuple[Mode, tuple[int, int] | None, int | None, tuple[int, int]]


def _sizes(document: Mapping[str, Any], kind: _Processor) -> _Sizes:
    """Mode, size before the crop, shortest side before the crop, and the final size."""
    size = document.get("size", kind.size)
    edge = size.get("shortest_edge") if isinstance(size, dict) else size if kind.keeps_ratio else None
    if kind.crop_share:
        return _share_sizes(document, edge)
    crops = kind.crop is not None and document.get("do_center_crop", True)
    cropped = _pair(document.get("crop_size", kind.crop), "crop_size") if crops else None
    if not document.get("do_resize", True):
        if cropped is None:
            raise _no_size("images are not resized (do_resize)")
        return "none", None, None, cropped
    if edge is not None:
        if cropped is None:
            raise _no_size("images are not cropped (do_center_crop)")
        return "crop", None, _pixels(edge, "size"), cropped
    resized = _pair(size, "size")
    return "stretch", resized, None, cropped or resized


def _share_sizes(document: Mapping[str, Any], edge: Any) -> _Sizes:
    """ConvNext's: below 384 pixels it resizes to more than is kept, from there on it stretches."""
    if not document.get("do_resize", True):
        raise _no_size("images are not resized (do_resize)")
    kept = _pixels(edge, "size")
    if kept >= _STRETCHED_FROM:
        return "stretch", (kept, kept), None, (kept, kept)
    share = document.get("crop_pct") or _CROP_SHARE
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise InputError.of(f"crop_pct is {share!r}", hint=_HINT, place=PREPROCESSOR)
    return "crop", None, int(kept / share), (kept, kept)


def _no_size(what: str) -> InputError:
    hint = "export the model yourself and give the .onnx file with the sizes of its inputs"
    return InputError.of(f"{what}, so that they have no size of their own", hint=hint, place=PREPROCESSOR)


def _pair(value: Any, name: str) -> tuple[int, int]:
    if isinstance(value, dict):
        return _pixels(value.get("height"), name), _pixels(value.get("width"), name)
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return _pixels(value[0], name), _pixels(value[1], name)
    return _pixels(value, name), _pixels(value, name)


def _pixels(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1 << 14:
        raise InputError.of(f"{name} has {value!r} pixels", hint=_HINT, place=PREPROCESSOR)
    return value


def _three(document: Mapping[str, Any], name: str, default: Three) -> Three:
    value = document.get(name, default)
    numbers = [value] * 3 if isinstance(value, (int, float)) else value
    if (
        not isinstance(numbers, (list, tuple))
        or len(numbers) != 3
        or not all(isinstance(n, (int, float)) for n in numbers)
        or (name.endswith("std") and 0 in numbers)
    ):
        raise InputError.of(f"{name} is {value!r}, not three numbers", hint=_HINT, place=PREPROCESSOR)
    red, green, blue = (float(n) for n in numbers)
    return red, green, blue
