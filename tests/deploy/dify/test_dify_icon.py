"""Icons: drawn ones are images, wrong ones are refused with a reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from xml.parsers import expat

import pytest

from edgec.deploy.dify.icon import MAX_BYTES, IconError, drawn_icon, read_icon

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="1"/></svg>'


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 8, height: int = 8) -> bytes:
    """A grey image."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("name", "letters"), [("docs-llama", "DL"), ("qwen2.5-0.5b", "Q5"), ("x", "X"), ("_-_", "E")])
def test_drawn_icons(name: str, letters: str, tmp_path: Path) -> None:
    icon = drawn_icon(name)
    expat.ParserCreate().Parse(icon, True)
    assert f">{letters}</text>".encode() in icon
    path = tmp_path / "icon.svg"
    path.write_bytes(icon)
    assert read_icon(path) == ("svg", icon)


def test_names_have_colours_of_their_own() -> None:
    assert len({drawn_icon(f"a{n}").split(b"hsl(")[1][:4] for n in range(20)}) > 10


@pytest.mark.parametrize(("name", "data"), [("a.svg", SVG), ("a.png", png()), ("A.PNG", png(1024, 1))])
def test_icons_of_the_user(name: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert read_icon(path) == (name[-3:].lower(), data)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jpg", b"\xff\xd8", "neither"),
        ("a.svg", png(), "not an SVG"),
        ("a.svg", b"", "not an SVG"),
        ("a.svg", b"<html/>", "not an SVG"),
        ("a.svg", SVG.replace(b"<rect", b"<script/><rect"), "script"),
        ("a.svg", SVG.replace(b"<rect", b'<rect onload="x()"'), "script"),
        ("a.svg", SVG.replace(b"<rect", b'<rect href="javascript:x()"'), "script"),
        ("a.svg", b'<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG, "document type"),
        ("a.svg", SVG + b" " * MAX_BYTES, "larger than 512 KiB"),
        ("a.png", SVG, "not a whole PNG"),
        ("a.png", png()[:-5], "not a whole PNG"),
        ("a.png", png().replace(b"\x08\x00\x00", b"\x08\x00\x01", 1), "not a whole PNG"),
        ("a.png", png(2000, 10), "2000 by 10"),
        ("a.png", png(0, 10), "0 by 10"),
    ],
)
def test_refused_icons(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(IconError, match=message) as caught:
        read_icon(path)
    assert caught.value.hint


def test_missing_icons(tmp_path: Path) -> None:
    with pytest.raises(IconError, match="does not exist"):
        read_icon(tmp_path / "none.svg")
    with pytest.raises(IconError, match="cannot be read"):
        read_icon(tmp_path)
