"""Images as samples: a folder of files, decoded and turned into the arrays that a model takes.

Rules: nothing is skipped in silence: a file that is no image, or half of one, is an error that names it. Pixels are
turned as EXIF says; grey, palette and CMYK become RGB; an alpha channel is dropped; of an animation the first
picture counts. An image of more than `MAX_PIXELS` is not decoded.
"""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgec.documents.canonical import canonical_json, sha256_bytes, sha256_file
from edgec.errors import InputError
from edgec.formats.image_settings import ENDINGS, RESAMPLES, ImageSettings
from edgec.source.unchanged import file_changed

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_DECODERS = ("PNG", "JPEG", "WEBP", "BMP")
# As large as Pillow takes without a warning; a file of some kilobytes can announce far more.
MAX_PIXELS = 89_478_485
_SHOWN = 3

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageSet:
    """Images that were chosen, and the digest of each content: what is decoded later must have it still."""

    paths: tuple[Path, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """One digest over the images' contents, in their order; names say nothing."""
        return sha256_bytes(canonical_json(list(self.digests)))

    def without(self, others: ImageSet) -> ImageSet:
        """Those whose contents the others do not have."""
        kept = [(p, d) for p, d in zip(self.paths, self.digests, strict=True) if d not in others.digests]
        return ImageSet(tuple(p for p, _ in kept), tuple(d for _, d in kept))

    def evenly(self, most: int) -> ImageSet:
        """At most so many, from all parts of the folder."""
        if len(self.paths) <= most:
            return self
        chosen = [i * (len(self.paths) - 1) // (most - 1) for i in range(most)]
        return ImageSet(tuple(self.paths[i] for i in chosen), tuple(self.digests[i] for i in chosen))


def image_set(folder: Path) -> ImageSet:
    """All images of a folder; each content counts once. Raises InputError for a file that is no image by its start."""
    paths = image_files(folder)
    found = {_digest(path): path for path in reversed(paths)}
    chosen = sorted((path, digest) for digest, path in found.items())
    for path, _ in chosen:
        with _opened(path, path):
            pass
    return ImageSet(tuple(path for path, _ in chosen), tuple(digest for _, digest in chosen))


def load_set(images: ImageSet, settings: ImageSettings) -> Floats:
    """The images as one array, one row each. Raises InputError naming a file that changed, or cannot be decoded."""
    rows = np.empty((len(images.paths), *settings.shape), np.float32)
    for row, path, digest in zip(rows, images.paths, images.digests, strict=True):
        data = _read(path)
        if sha256_bytes(data) != digest:
            raise file_changed(path)
        row[...] = to_array(_decoded(BytesIO(data), path), settings)
    return rows


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, by name; hidden files are passed by. Raises InputError: none, or something else there."""
    try:
        names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError.of(what, hint="give a folder of images", place=str(folder)) from error
    strange = [path.name for path in names if path.suffix.lower() not in ENDINGS or not path.is_file()]
    if strange:
        shown = ", ".join(strange[:_SHOWN]) + (f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else "")
        raise InputError.of(
            f"the folder of images also holds {shown}",
            hint=f"leave only images in it ({', '.join(ENDINGS)}), without folders in it",
            place=str(folder),
        )
    if not names:
        hint = f"put images into it ({', '.join(ENDINGS)})"
        raise InputError.of("the folder of images is empty", hint=hint, place=str(folder))
    return names


def images_digest(paths: Sequence[Path]) -> str:
    """One digest over the images' contents, in their order; names say nothing."""
    return sha256_bytes(canonical_json([sha256_file(path) for path in paths]))


def load_images(paths: Sequence[Path], settings: ImageSettings) -> Iterator[Floats]:
    """Each image as an array of shape `settings.shape`. Raises InputError naming the file."""
    for path in paths:
        yield load_image(path, settings)


def load_image(path: Path, settings: ImageSettings) -> Floats:
    """One image as an array. Raises InputError for a file that is no image, a broken one, or one too large."""
    return to_array(_decoded(path, path), settings)


def to_array(image: Picture, settings: ImageSettings) -> Floats:
    """A decoded RGB image as an array."""
    resized = _resized(image.convert("L") if settings.colour == "grey" else image, settings)
    pixels = _cropped(resized, settings.height, settings.width)
    if settings.colour == "bgr":
        pixels = pixels[..., ::-1]
    # In double precision first, as transformers computes it.
    numbers = (pixels.astype(np.float64) * settings.scale).astype(np.float32)
    mean, std = (np.asarray(values, np.float32) for values in (settings.mean, settings.std))
    numbers = (numbers - mean) / std
    return np.ascontiguousarray(numbers if settings.channels_last else numbers.transpose(2, 0, 1), np.float32)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError.of(
            f"cannot be read: {error.strerror}", hint="check its permissions", place=str(path)
        ) from error


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise InputError.of(
            f"cannot be read: {error.strerror}", hint="check its permissions", place=str(path)
        ) from error


def _decoded(data: Path | BytesIO, path: Path) -> Picture:
    from PIL import ImageOps  # noqa: PLC0415

    with _opened(data, path) as image:
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


@contextlib.contextmanager
def _opened(data: Path | BytesIO, path: Path) -> Iterator[Picture]:
    """The image whose pixels are not decoded yet; what goes wrong within is told of `path`."""
    # Imported here: most builds see no image.
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(data, formats=_DECODERS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height}")
                yield image
    except bombs as error:
        raise InputError.of(
            f"the image has more than {MAX_PIXELS} pixels, which is not decoded ({error})",
            hint="make it smaller: models see a few hundred pixels",
            place=str(path),
        ) from error
    except UnidentifiedImageError as error:
        raise InputError.of(
            "is not an image, whatever its name says", hint="give PNG, JPEG, WebP or BMP files", place=str(path)
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise InputError.of(
            f"the image cannot be decoded: {str(error)[:200]}", hint="copy it again, or leave it out", place=str(path)
        ) from error


def _rgb(image: Picture) -> Picture:
    from PIL import Image  # noqa: PLC0415

    if image.mode.startswith("I"):
        # 16 bits of grey, which a conversion would cut off at 255.
        return Image.fromarray((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _resized(image: Picture, settings: ImageSettings) -> Picture:
    from PIL import Image  # noqa: PLC0415

    resample = Image.Resampling(RESAMPLES.index(settings.resample))
    width, height = image.size
    match settings.mode:
        case "none":
            return image
        case "stretch":
            tall, wide = settings.resized or (settings.height, settings.width)
            return image.resize((wide, tall), resample)
        case "crop":
            edge = settings.edge or min(settings.height, settings.width)
            # The longer side loses its fraction, as in torchvision and transformers.
            if width <= height:
                return image.resize((edge, int(edge * height / width)), resample)
            return image.resize((int(edge * width / height), edge), resample)
    share = min(settings.width / width, settings.height / height)
    inner = (max(1, round(width * share)), max(1, round(height * share)))
    colour = settings.fill if image.mode == "L" else (settings.fill,) * 3
    whole = Image.new(image.mode, (settings.width, settings.height), colour)
    whole.paste(image.resize(inner, resample), ((settings.width - inner[0]) // 2, (settings.height - inner[1]) // 2))
    return whole


def _cropped(image: Picture, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The middle of an image, with an axis of channels; black where it is too small."""
    pixels = np.asarray(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    tall, wide = pixels.shape[:2]
    if tall < height or wide < width:
        canvas = np.zeros((max(tall, height), max(wide, width), pixels.shape[2]), np.uint8)
        top, left = -(-(canvas.shape[0] - tall) // 2), -(-(canvas.shape[1] - wide) // 2)
        canvas[top : top + tall, left : left + wide] = pixels
        # As transformers takes it: its middle counts from the image, not from the canvas.
        start_y, start_x = (tall - height) // 2 + top, (wide - width) // 2 + left
        return canvas[max(0, start_y) : start_y + height, max(0, start_x) : start_x + width]
    top, left = (tall - height) // 2, (wide - width) // 2
    return pixels[top : top + height, left : left + width]
