"""Images as samples: what is decoded and how, and what is refused with the file's name."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_folder import picture, write_images
from PIL import Image

from edgec.errors import InputError
from edgec.formats.image_settings import ImageSettings, input_settings, preprocessor_settings
from edgec.formats.images import image_files, image_set, images_digest, load_image, load_images, load_set
from edgec.recipe.inputs import ImageInput

PLAIN = ImageSettings(8, 8, "none", scale=1.0)


def test_a_folder_becomes_arrays_in_the_order_of_names(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 3)
    (folder / ".DS_Store").write_bytes(b"x")
    paths = image_files(folder)
    assert [p.name for p in paths] == ["0000.png", "0001.png", "0002.png"]
    arrays = list(load_images(paths, ImageSettings(32, 48)))
    assert {a.shape for a in arrays} == {(3, 32, 48)}
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}
    assert 0 <= min(a.min() for a in arrays) < max(a.max() for a in arrays) <= 1


def test_the_digest_is_of_contents(tmp_path: Path) -> None:
    folder = write_images(tmp_path, 2)
    before = images_digest(image_files(folder))
    (folder / "0001.png").rename(folder / "9999.png")
    assert images_digest(image_files(folder)) == before
    write_images(folder, 1, first=7)
    assert images_digest(image_files(folder)) != before


def test_colours_and_axes(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 128, 0)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    assert load_image(path, PLAIN)[:, 0, 0].tolist() == [255, 128, 0]
    assert load_image(path, ImageSettings(8, 8, "none", scale=1.0, colour="bgr"))[:, 0, 0].tolist() == [0, 128, 255]
    last = load_image(path, ImageSettings(8, 8, "none", mean=(0.5,), std=(0.5,), channels_last=True))
    assert last.shape == (8, 8, 3)
    assert last[0, 0].tolist() == pytest.approx([1.0, 2 * 128 / 255 - 1, -1.0], abs=1e-6)
    grey = load_image(path, ImageSettings(8, 8, "none", scale=1.0, colour="grey"))
    assert (grey.shape, grey[0, 0, 0]) == ((1, 8, 8), 151)


def test_a_letterbox_shows_the_whole_image(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (10, 20, 30)).save(tmp_path / "a.bmp")
    found = load_image(tmp_path / "a.bmp", ImageSettings(32, 32, "letterbox", scale=1.0))
    assert found[0, :8].min() == found[0, -8:].min() == 114
    assert found[:, 8:24, :].reshape(3, -1).std(axis=1).max() == 0
    assert found[:, 16, 16].tolist() == [10, 20, 30]


def test_other_kinds_of_pixels_become_rgb(tmp_path: Path) -> None:
    pixels = picture(1, 8, 8)
    colour = Image.fromarray(pixels)
    whole = load_image(_saved(colour, tmp_path / "a.png"), PLAIN)
    alpha = colour.copy()
    alpha.putalpha(40)
    assert (load_image(_saved(alpha, tmp_path / "alpha.png"), PLAIN) == whole).all()
    palette = colour.quantize(64)
    got = load_image(_saved(palette, tmp_path / "palette.png"), PLAIN)
    assert (got == np.asarray(palette.convert("RGB")).transpose(2, 0, 1)).all()
    grey = load_image(_saved(colour.convert("L"), tmp_path / "grey.png"), PLAIN)
    assert (grey[0] == grey[2]).all()
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    assert (load_image(_saved(deep, tmp_path / "deep.png"), PLAIN)[1] == pixels[..., 0]).all()
    near = load_image(_saved(colour, tmp_path / "a.webp", lossless=True), PLAIN)
    assert (near == whole).all()


def test_exif_turns_an_image(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = load_image(tmp_path / "turned.jpg", ImageSettings(16, 16, "none", scale=1.0))
    assert found[0, :, 12].min() > 200
    assert found[0, :, 3].max() < 50


def _saved(image: Image.Image, path: Path, **options: bool) -> Path:
    image.save(path, **options)
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("no.png", b"no image at all", "is not an image"),
        ("empty.jpg", b"", "is not an image"),
        ("other.png", b"GIF89a" + bytes(40), "is not an image"),
        (
            "bomb.png",
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
            + _chunk(b"IDAT", zlib.compress(b"")),
            "pixels, which is not decoded",
        ),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_image(tmp_path / name, PLAIN)
    (diagnostic,) = caught.value.diagnostics
    assert says in diagnostic.message
    assert diagnostic.place == str(tmp_path / name)
    assert diagnostic.hint


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_half_an_image_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"half.{ending}"
    Image.fromarray(picture(0)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        load_image(path, PLAIN)
    assert "decoded" in caught.value.diagnostics[0].message


def test_a_folder_without_images_and_one_with_more_are_errors(tmp_path: Path) -> None:
    for folder, says in ((tmp_path / "none", "does not exist"), (tmp_path, "is empty")):
        with pytest.raises(InputError, match=says):
            image_files(folder)
    write_images(tmp_path, 1)
    (tmp_path / "labels.csv").write_text("x")
    (tmp_path / "deeper").mkdir()
    with pytest.raises(InputError, match=r"also holds deeper, labels\.csv"):
        image_files(tmp_path)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"image_processor_type": "EfficientNetImageProcessor"}, "'EfficientNetImageProcessor' is not known"),
        ({}, "names no image processor"),
        ({"image_processor_type": "ViTImageProcessor", "do_resize": False}, "no size of their own"),
        ({"image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0, 0.5]}, "image_std is"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"height": 0, "width": 3}}, "size has 0 pixels"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 3}, "crop_pct is 3"),
    ],
)
def test_unknown_processors_are_refused(document: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        preprocessor_settings({"preprocessor_config.json": json.dumps(document).encode()})


def test_a_recipe_says_how_an_image_becomes_an_input(tmp_path: Path) -> None:
    image = ImageInput(resize="crop", shortest_edge=10, colour="bgr", scale=1, mean=(1, 2, 3), layout="nhwc")
    settings = input_settings(image, (8, 6))
    Image.new("RGB", (40, 20), (30, 20, 10)).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", settings)
    assert found.shape == settings.shape == (8, 6, 3)
    assert found[0, 0].tolist() == [9, 18, 27]


def test_a_set_holds_each_content_once_and_is_read_as_it_was(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", 5)
    (folder / "again.png").write_bytes((folder / "0002.png").read_bytes())
    other = write_images(tmp_path / "b", 2, first=3)
    images = image_set(folder)
    assert [p.name for p in images.paths] == [f"000{n}.png" for n in range(5)]
    left = images.without(image_set(other))
    assert [p.name for p in left.evenly(2).paths] == ["0000.png", "0002.png"]
    assert load_set(left, ImageSettings(8, 8)).shape == (3, 3, 8, 8)
    write_images(folder, 1, first=0, height=33)
    with pytest.raises(InputError, match="changed"):
        load_set(left, ImageSettings(8, 8))
    (folder / "0001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="is not an image"):
        image_set(folder)
