"""A remembered digest is used only for the very file that was hashed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec.documents.canonical import sha256_bytes
from edgec.store.digests import DigestCache

OLD_NS = 1_600_000_000_000_000_000


def age(path: Path, mtime_ns: int = OLD_NS) -> None:
    """Sets the time of the last change to long ago."""
    os.utime(path, ns=(mtime_ns, mtime_ns))


def change_unseen(path: Path, content: bytes) -> None:
    """Writes `content` of the same size in place and sets the older time again: what no stamp can show."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "digests")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"first")
    age(path)
    return path


def test_an_unchanged_file_is_not_read_again(cache: DigestCache, file: Path) -> None:
    assert cache(file) == sha256_bytes(b"first")
    change_unseen(file, b"other")
    assert cache(file) == sha256_bytes(b"first")


def test_a_file_changed_just_before_is_never_remembered(cache: DigestCache, file: Path) -> None:
    os.utime(file)
    assert cache(file) == sha256_bytes(b"first")
    change_unseen(file, b"other")
    assert cache(file) == sha256_bytes(b"other")


def test_a_new_time_or_size_or_file_is_hashed_again(cache: DigestCache, file: Path, tmp_path: Path) -> None:
    cache(file)
    change_unseen(file, b"other")
    age(file, OLD_NS + 1)
    assert cache(file) == sha256_bytes(b"other")
    file.write_bytes(b"longer than before")
    age(file, OLD_NS + 1)
    assert cache(file) == sha256_bytes(b"longer than before")
    replacement = tmp_path / "replacement"
    replacement.write_bytes(b"LONGER than before")
    age(replacement, OLD_NS + 1)
    replacement.replace(file)
    assert cache(file) == sha256_bytes(b"LONGER than before")


def test_a_link_and_its_file_are_one(cache: DigestCache, file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    cache(link)
    assert len(list(cache.root.iterdir())) == 1
    assert cache(link) == cache(file)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"stamp":1}', b"\xff\xfe"])
def test_a_damaged_note_only_costs_another_hash(cache: DigestCache, file: Path, damage: bytes) -> None:
    cache(file)
    (note,) = cache.root.iterdir()
    note.write_bytes(damage)
    assert cache(file) == sha256_bytes(b"first")
    assert note.read_bytes() != damage
