"""The files of a bundle wherever they lie: in a folder, or inside a tar archive that is read without unpacking it.

Rule: only regular files and the folders that hold them exist; a link, a device or an empty folder is refused, never
followed. Nothing is read whole.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Protocol

from edgec.bundle.paths import path_fault, set_fault
from edgec.bundle.strict_json import MAX_DOCUMENT_BYTES, refuse
from edgec.documents.canonical import sha256_bytes

_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512
MAX_FILES = 100_000


class Tree(Protocol):
    """Files by relative name with `/`. `sizes`: name to bytes. Errors are ProofError."""

    place: str

    @property
    def sizes(self) -> Mapping[str, int]: ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, in pieces; ends with an error when the file is not as long as `sizes` says."""
        ...


def read_document(tree: Tree, name: str, digest: str | None = None) -> bytes:
    """A small file, whole. Raises ProofError when it is missing, too large, or not what `digest` says."""
    size_bytes = tree.sizes.get(name)
    if size_bytes is None:
        raise refuse(f"`{name}` is missing", place=tree.place)
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise refuse(f"`{name}` is larger than {MAX_DOCUMENT_BYTES >> 20} MiB", place=tree.place)
    data = b"".join(tree.chunks(name))
    if digest is not None and sha256_bytes(data) != digest:
        raise refuse(f"`{name}` was changed: it is not {digest}", place=tree.place)
    return data


class FolderTree:
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root
        sizes: dict[str, int] = {}
        try:
            self._scan(root, "", sizes)
        except OSError as error:
            raise refuse(
                f"cannot be read: {error.strerror}", place=str(error.filename or root), hint="check its permissions"
            ) from None
        self._sizes = MappingProxyType(sizes)
        _check_names(self.place, self._sizes)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Name to size in bytes."""
        return self._sizes

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, in pieces."""
        try:
            # The file may have become a link since it was listed.
            handle = os.open(self._root / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(handle, "rb") as file:
                yield from _exactly(file, self._sizes[name], f"{self.place}/{name}")
        except OSError as error:
            raise refuse(f"`{name}` cannot be read: {error.strerror}", place=self.place) from None

    def _scan(self, folder: Path, prefix: str, sizes: dict[str, int]) -> None:
        pending = [(folder, prefix)]
        while pending:
            here, prefix = pending.pop()
            with os.scandir(here) as entries:
                empty = True
                for entry in entries:
                    empty = False
                    name = prefix + entry.name
                    state = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(state.st_mode):
                        pending.append((Path(entry.path), name + "/"))
                    else:
                        _check_kind(self.place, name, state.st_mode)
                        sizes[name] = state.st_size
                        _check_count(self.place, sizes)
            if empty and prefix:
                raise refuse(f"the folder {prefix[:-1]!r} is empty; no bundle has such", place=self.place)


@dataclass(frozen=True)
class _Member:
    offset: int
    size_bytes: int


class TarTree:
    """The files of an uncompressed tar archive. Holds the file open until `close`.

    Reads headers itself: Python's reader holds extension headers of any size in memory, follows links, and takes a
    truncated archive for a shorter one.
    """

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._file = path.open("rb")
        try:
            self._members = self._read_members()
            self._sizes = MappingProxyType({name: m.size_bytes for name, m in self._members.items()})
            _check_names(self.place, self._sizes)
        except BaseException:
            self._file.close()
            raise

    @property
    def sizes(self) -> Mapping[str, int]:
        """Name to size in bytes."""
        return self._sizes

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, in pieces."""
        member = self._members[name]
        try:
            self._file.seek(member.offset)
            yield from _exactly(self._file, member.size_bytes, f"{self.place}: {name}", ends=False)
        except OSError as error:
            raise refuse(f"`{name}` cannot be read: {error.strerror}", place=self.place) from None

    def close(self) -> None:
        """Closes the archive."""
        self._file.close()

    def _read_members(self) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        archive_bytes = os.fstat(self._file.fileno()).st_size
        while True:
            header = self._file.read(_BLOCK_BYTES)
            if len(header) == _BLOCK_BYTES and not any(header):
                self._check_end()
                return members
            info = self._parse_header(header)
            name = info.name.removeprefix("./").rstrip("/")
            offset = self._file.tell()
            padded = -(-info.size // _BLOCK_BYTES) * _BLOCK_BYTES
            if info.size < 0 or offset + padded > archive_bytes:
                raise refuse("the archive is cut off", place=self.place)
            if info.type == tarfile.DIRTYPE:
                if name not in {"", ".", "blobs", "blobs/sha256"} or info.size:
                    raise refuse(f"the archive holds an unexpected folder {name!r}", place=self.place)
                continue
            if name in members:
                raise refuse(f"the archive holds {name!r} twice", place=self.place)
            members[name] = _Member(offset, info.size)
            _check_count(self.place, members)
            self._check_padding(offset + info.size, padded - info.size)

    def _parse_header(self, header: bytes) -> tarfile.TarInfo:
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.TarError, ValueError):
            raise refuse("the archive is cut off or damaged", place=self.place) from None
        # Everyone writes the checksum this way; with any other spelling a changed byte could go unseen.
        if header[148:156] != b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * ord(" ")):
            raise refuse("the archive is cut off or damaged", place=self.place)
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE}:
            raise refuse(f"{info.name!r} in the archive is neither a file nor a folder", place=self.place)
        return info

    def _check_padding(self, offset: int, length: int) -> None:
        self._file.seek(offset)
        if any(self._file.read(length)):
            raise refuse("the archive holds bytes that belong to no file", place=self.place)

    def _check_end(self) -> None:
        """After one block of zeros: at least another one, and nothing else."""
        rest = 0
        while chunk := self._file.read(_CHUNK_BYTES):
            rest += len(chunk)
            if any(chunk):
                raise refuse("the archive holds bytes after its end", place=self.place)
        if rest < _BLOCK_BYTES or rest % _BLOCK_BYTES:
            raise refuse("the archive is cut off", place=self.place)


def _exactly(file: BinaryIO, size_bytes: int, place: str, *, ends: bool = True) -> Iterator[bytes]:
    left = size_bytes
    while left:
        chunk = file.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise refuse("the file became shorter while it was read", place=place)
        left -= len(chunk)
        yield chunk
    if ends and file.read(1):
        raise refuse("the file became longer while it was read", place=place)


def _check_kind(place: str, name: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise refuse(f"{name!r} is a symbolic link; a bundle has none", place=place)
    if not stat.S_ISREG(mode):
        raise refuse(f"{name!r} is a special file; a bundle has none", place=place)


def _check_count(place: str, names: Mapping[str, object]) -> None:
    if len(names) > MAX_FILES:
        raise refuse(f"more than {MAX_FILES} files; no bundle has so many", place=place)


def _check_names(place: str, names: Mapping[str, int]) -> None:
    for name in names:
        if fault := path_fault(name):
            raise refuse(f"{name!r}: {fault}", place=place)
    if fault := set_fault(names):
        raise refuse(fault, place=place)
