"""A `.difypkg`: a zip of files, without folders, whose comment holds the signature.

Rule: what is written depends on nothing but names and contents: entries are stored, not compressed (compressors differ
between machines), with one fixed time. What is read is exactly what Dify's daemon would see, or refused.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from edgec.deploy.dify.layout import has_stray_bytes
from edgec.errors import InputError

# Dify's MAX_PLUGIN_PACKAGE_SIZE, counted over the contents.
MAX_BYTES = 52_428_800
# What the plain form of a zip can count; Dify sets no limit of its own.
_MAX_FILES = 65_535
_MAX_NAME_BYTES = 512
_MAX_DIRECTORY_BYTES = 8 << 20
# The earliest time a zip can say.
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1
_PLAIN_FILE = 0o100644 << 16
_MADE_ON_UNIX = 3


@dataclass(frozen=True)
class PluginPackage:
    """The files of a package in the order of the zip, and the zip's comment."""

    files: tuple[tuple[str, bytes], ...]
    comment: bytes = b""

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> PluginPackage:
        """An unsigned package of these files, by name."""
        return cls(tuple(sorted(files.items())))

    @property
    def size_bytes(self) -> int:
        """The sum of the contents, which Dify limits."""
        return sum(len(content) for _, content in self.files)

    @property
    def checksum(self) -> str:
        """64 hexadecimal digits over names and contents: what Dify's unique identifier ends with."""
        pairs = sorted(self.files)
        return sha256(b"".join(sha256(n.encode()).digest() + sha256(c).digest() for n, c in pairs)).hexdigest()

    def content(self, name: str) -> bytes | None:
        """The content of the file `name`, or None."""
        return next((content for found, content in self.files if found == name), None)


def write_package(package: PluginPackage) -> bytes:
    """The zip. Raises InputError when Dify would refuse its size."""
    if package.size_bytes > MAX_BYTES:
        raise too_large(package.size_bytes)
    _refuse_many(len(package.files), None)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, content in package.files:
            entry = zipfile.ZipInfo(name, _FIXED_TIME)
            entry.external_attr = _PLAIN_FILE
            entry.create_system = _MADE_ON_UNIX
            archive.writestr(entry, content)
        archive.comment = package.comment
    return sink.getvalue()


def open_package(path: Path) -> PluginPackage:
    """The package in the file `path`. Raises InputError."""
    try:
        with path.open("rb") as file:
            # Compressed or not, nothing that Dify takes is longer than its limit and the zip's own directory.
            data = file.read(MAX_BYTES + _MAX_DIRECTORY_BYTES + 1)
    except FileNotFoundError:
        raise _wrong("no such package", "name an existing `.difypkg` file", str(path)) from None
    except OSError as error:
        reason = f"the package cannot be read: {error.strerror}"
        raise _wrong(reason, "check the path and its permissions", str(path)) from None
    if len(data) > MAX_BYTES + _MAX_DIRECTORY_BYTES:
        raise too_large(len(data), str(path))
    return read_package(data, place=str(path))


def read_package(data: bytes, *, place: str | None = None) -> PluginPackage:
    """The package in the zip `data`. Raises InputError for what Dify's daemon refuses or would read in another way."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _refuse_size(entries, place)
            _refuse_many(len(entries), place)
            names = [_name(entry, place) for entry in entries]
            files = tuple((name, archive.read(entry)) for name, entry in zip(names, entries, strict=True))
            comment, is_stray = archive.comment, has_stray_bytes(data, archive)
    except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, EOFError, OSError) as error:
        raise _wrong(f"not a plugin package: {error}", "name a `.difypkg` file that is whole", place) from error
    if is_stray:
        reason = "the package holds bytes that belong to no file, which no signature covers"
        raise _wrong(reason, "get the package again, or pack the plugin again", place)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        # Who reads the first and who reads the last one see different plugins.
        raise _wrong(f"the package holds {twice[0]} twice", "pack the plugin again", place)
    return PluginPackage(files, comment)


def too_large(size_bytes: int, place: str | None = None) -> InputError:
    """The error for a package over Dify's limit."""
    return _wrong(
        f"the package holds {size_bytes} bytes, Dify takes {MAX_BYTES} at most (counted before compression)",
        "leave large files out of it",
        place,
    )


def _refuse_size(entries: list[zipfile.ZipInfo], place: str | None) -> None:
    # Said by the directory, before anything is unpacked; reading stops at the size that an entry says.
    size_bytes = sum(entry.file_size for entry in entries)
    if size_bytes > MAX_BYTES:
        raise too_large(size_bytes, place)


def _refuse_many(count: int, place: str | None) -> None:
    if count > _MAX_FILES:
        raise _wrong(f"the package holds {count} files; {_MAX_FILES} are the most", "leave some out of it", place)


def _name(entry: zipfile.ZipInfo, place: str | None) -> str:
    # zipfile reads names without the flag as code page 437; Go, in which the daemon is written, takes their bytes.
    raw = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8_NAME else "cp437")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise _wrong("the package holds a file name that is not UTF-8", "pack the plugin again", place) from None
    if entry.flag_bits & _ENCRYPTED:
        raise _wrong(f"{name} is encrypted", "pack the plugin without a password", place)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _wrong(f"{name} is compressed in a way that Dify does not read", "pack the plugin with deflate", place)
    if name.endswith("/"):
        raise _wrong(f"the package holds the folder {name} as an entry", "pack files only: `zip -D`", place)
    path = PurePosixPath(name)
    is_plain = path.as_posix() == name and not path.is_absolute() and ".." not in path.parts
    if not is_plain or "\\" in name or "\0" in name or len(raw) > _MAX_NAME_BYTES:
        raise _wrong(f"the package holds the file name {name!r}", "pack the plugin again, with plain names", place)
    return name


def _wrong(message: str, hint: str, place: str | None) -> InputError:
    return InputError.of(message, hint=hint, place=place)
