"""The plugin's icon: drawn from its name, or the user's file, checked.

Rule: an icon is what its name says, small, and holds nothing that a browser would run.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from xml.parsers import expat

MAX_BYTES = 512 << 10
MAX_PIXELS = 1024
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = "http://www.w3.org/2000/svg"
# Two saturated, dark enough for white letters, from the hash of the name.
_HUES = 360


class IconError(ValueError):
    """Why a file cannot be the icon. `hint`: what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def drawn_icon(name: str) -> bytes:
    """An SVG of 64 by 64 with up to two letters of `name` on a colour of its own."""
    words = [w for w in "".join(c if c.isascii() and c.isalnum() else " " for c in name).split() if w]
    letters = ("".join(w[0] for w in words[:2]) or "e").upper()
    hue = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") % _HUES
    return (
        f'<svg xmlns="{_SVG}" width="64" height="64" viewBox="0 0 64 64">\n'
        f'  <rect width="64" height="64" rx="14" fill="hsl({hue}, 55%, 38%)"/>\n'
        '  <g stroke="#fff" stroke-width="3" stroke-linecap="round" opacity="0.55">\n'
        '    <path d="M22 6v6M32 6v6M42 6v6M22 52v6M32 52v6M42 52v6M6 22h6M6 32h6M6 42h6M52 22h6M52 32h6M52 42h6"/>\n'
        "  </g>\n"
        '  <text x="32" y="33" fill="#fff" font-family="Helvetica, Arial, sans-serif" font-size="24"\n'
        f'    font-weight="700" text-anchor="middle" dominant-baseline="central">{letters}</text>\n'
        "</svg>\n"
    ).encode()


def read_icon(path: Path) -> tuple[str, bytes]:
    """The suffix (`svg` or `png`) and content of the user's icon. Raises IconError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise IconError("the icon does not exist", "name an existing file, or remove the line") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise IconError(f"the icon cannot be read: {reason}", "check the path and its permissions") from None
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in ("svg", "png"):
        raise IconError("the icon is neither `.svg` nor `.png`", "name an SVG or PNG file")
    if len(data) > MAX_BYTES:
        raise IconError(f"the icon is larger than {MAX_BYTES >> 10} KiB", "make it smaller, or remove the line")
    if suffix == "png":
        _check_png(data)
    else:
        _check_svg(data)
    return suffix, data


def _check_png(data: bytes) -> None:
    wrong = IconError("the icon is not a whole PNG image", "save it again as PNG")
    if not data.startswith(_PNG):
        raise wrong
    kinds = []
    at = len(_PNG)
    while at < len(data):
        if at + 12 > len(data):
            raise wrong
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        crc = data[at + 8 + length : at + 12 + length]
        if len(crc) < 4 or struct.unpack(">I", crc) != (zlib.crc32(body),):
            raise wrong
        kinds.append(body[:4])
        at += 12 + length
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or b"IDAT" not in kinds:
        raise wrong
    width, height = struct.unpack_from(">II", data, 16)
    if not (0 < width <= MAX_PIXELS and 0 < height <= MAX_PIXELS):
        raise IconError(
            f"the icon is {width} by {height} pixels, more than {MAX_PIXELS}", "save it with 256 by 256 pixels"
        )


def _check_svg(data: bytes) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    names: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        names.append(name)
        runs = name.rpartition(" ")[2].lower() == "script" or any(a.lower().startswith("on") for a in attributes)
        if runs or any("javascript:" in value.lower() for value in attributes.values()):
            raise IconError("the icon holds a script", "export a plain SVG")

    def doctype(*_: object) -> None:
        # Entities grow without end, and name files.
        raise IconError("the icon has a document type", "export a plain SVG, without DOCTYPE")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        message = f"the icon is not an SVG image: {expat.ErrorString(error.code)} in line {error.lineno}"
        raise IconError(message, "save it again as SVG") from None
    if names[0] not in (f"{_SVG} svg", "svg"):
        raise IconError("the icon is not an SVG image", "save it again as SVG")
