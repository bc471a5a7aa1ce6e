"""Weights that change between the plan and the end of a read are refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade import safetensors_bytes

from edgec.documents.canonical import sha256_file
from edgec.errors import EdgecError, InputError, ToolError
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.source.unchanged import unchanged, weight_stamps

BEFORE = safetensors_bytes({"w": ("F32", [1], b"\0\0\0\0")})
SAME_SIZE = safetensors_bytes({"w": ("F32", [1], b"\0\0\0\1")})
ANOTHER_HEADER = safetensors_bytes({"v": ("F32", [1], b"\0\0\0\0")})
FILE = "model.safetensors"


@pytest.fixture
def opened(checkpoint: Callable[..., Path]) -> Checkpoint:
    return open_local(checkpoint({FILE: BEFORE}))


def refused(opened: Checkpoint, during: Callable[[Path], None], digest: Callable[[Path], str] = sha256_file) -> None:
    """Asserts that what `during` does to the file while it is read is refused, with its name and something to do."""
    path = opened.root / FILE
    with pytest.raises(InputError, match="the file changed while it was read") as caught, unchanged(opened, digest):
        during(path)
    (told,) = caught.value.diagnostics
    assert told.place == str(path)
    assert "build again" in str(told.hint)


def test_what_stays_is_read(opened: Checkpoint) -> None:
    with unchanged(opened, sha256_file):
        assert (opened.root / FILE).read_bytes() == BEFORE


@pytest.mark.parametrize("content", [SAME_SIZE, ANOTHER_HEADER, BEFORE + b"\0", b""])
def test_a_change_before_is_refused_before_anything_is_read(opened: Checkpoint, content: bytes) -> None:
    (opened.root / FILE).write_bytes(content)
    read: list[Path] = []
    refused(opened, read.append)
    assert read == []


def test_a_planned_header_of_another_file_is_refused(opened: Checkpoint) -> None:
    # The file was replaced between the planner's look at the header and its hashing.
    planned = {f.name: f.digest for f in opened.header.identity.files}[FILE]
    (opened.root / FILE).write_bytes(ANOTHER_HEADER)
    read: list[Path] = []
    refused(opened, read.append, lambda path: planned)
    assert read == []


def test_a_change_while_reading_is_refused(opened: Checkpoint) -> None:
    refused(opened, lambda path: path.write_bytes(SAME_SIZE) and None)


def test_a_change_that_was_undone_is_refused(opened: Checkpoint) -> None:
    def change_and_restore(path: Path) -> None:
        path.write_bytes(SAME_SIZE)
        path.write_bytes(BEFORE)
        os.utime(path, ns=(1, 1))

    refused(opened, change_and_restore)


def test_a_change_within_one_tick_of_the_clock_is_refused(opened: Checkpoint) -> None:
    def keep_the_time(path: Path) -> None:
        status = path.stat()
        path.write_bytes(SAME_SIZE)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    refused(opened, keep_the_time)


def test_a_replaced_file_and_a_missing_one_are_refused(opened: Checkpoint) -> None:
    def replace(path: Path) -> None:
        status = path.stat()
        new = path.with_name("new")
        new.write_bytes(BEFORE)
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.replace(path)

    refused(opened, replace)
    refused(opened, Path.unlink)


def test_a_failure_is_explained_by_the_change_that_caused_it(opened: Checkpoint) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(SAME_SIZE)
        raise InputError.of("weight is NaN", hint="none")

    refused(opened, fail)


def test_a_failure_without_a_change_stays_as_it_is(opened: Checkpoint) -> None:
    failure = ToolError.of("disk", hint="none")
    with pytest.raises(EdgecError) as caught, unchanged(opened, sha256_file):
        raise failure
    assert caught.value is failure


def test_stamps_tell_files_of_the_same_size_and_time_apart(opened: Checkpoint) -> None:
    before = weight_stamps(opened)
    assert weight_stamps(opened) == before
    path = opened.root / FILE
    status = path.stat()
    path.write_bytes(SAME_SIZE)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weight_stamps(opened) != before
