"""Reading tensors: exact bytes, from many threads, and never zeros from a file that shrank."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from handmade import MODEL, safetensors_bytes

from edgec.errors import InputError
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, TensorInfo
from edgec.source.reader import TensorReader


def read(reader: TensorReader, info: TensorInfo, start: int, nbytes: int) -> bytes:
    into = bytearray(nbytes)
    reader.pread(info, start, nbytes, memoryview(into))
    return bytes(into)


@pytest.fixture
def model() -> Checkpoint:
    return open_local(MODEL, digest_file=lambda path: "sha256:0")


def test_many_threads_read_what_the_file_holds(model: Checkpoint) -> None:
    whole = (MODEL / "model.safetensors").read_bytes()
    tensors = list(model.header.tensors.values())
    with TensorReader(model) as reader, ThreadPoolExecutor(8) as pool:
        slabs = [(t, start, min(10_000, t.nbytes - start)) for t in tensors for start in range(0, t.nbytes, 10_000)]
        for (t, start, n), got in zip(slabs, pool.map(lambda s: read(reader, *s), slabs), strict=True):
            assert got == whole[t.offset + start : t.offset + start + n]


def test_opens_each_file_once_and_closes_it(model: Checkpoint) -> None:
    before = sorted(p.name for p in Path("/proc/self/fd").iterdir())
    tensors = list(model.header.tensors.values())
    with TensorReader(model) as reader:
        for t in tensors:
            reader.expect(t, 0, t.nbytes)
            read(reader, t, 0, 2)
            reader.forget(t, 0, t.nbytes)
        assert len(sorted(p.name for p in Path("/proc/self/fd").iterdir())) == len(before) + 1
    assert sorted(p.name for p in Path("/proc/self/fd").iterdir()) == before
    reader.close()


def test_a_larger_buffer_is_filled_only_as_far_as_asked(model: Checkpoint) -> None:
    info = next(iter(model.header.tensors.values()))
    into = bytearray(b"x" * 8)
    with TensorReader(model) as reader:
        reader.pread(info, 0, 4, memoryview(into))
    assert into[4:] == b"xxxx"
    assert into[:4] != b"xxxx"


@pytest.mark.parametrize(("start", "nbytes", "size"), [(-1, 4, 4), (0, -1, 4), (0, 1 << 40, 4), (0, 8, 4)])
def test_a_range_that_does_not_fit_is_a_bug_of_the_caller(
    model: Checkpoint, start: int, nbytes: int, size: int
) -> None:
    info = next(iter(model.header.tensors.values()))
    with TensorReader(model) as reader, pytest.raises(ValueError, match="bytes"):
        reader.pread(info, start, nbytes, memoryview(bytearray(size)))


def test_a_file_cut_while_it_is_read(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint({"model.safetensors": safetensors_bytes({"w": ("F32", [1000], bytes(4000))})})
    opened = open_local(folder)
    info = opened.header.tensors["w"]
    with TensorReader(opened) as reader:
        read(reader, info, 0, 4000)
        os.truncate(folder / "model.safetensors", info.offset + 3000)
        with pytest.raises(InputError) as caught:
            read(reader, info, 0, 4000)
    assert "model.safetensors: tensor 'w': error: the file ended 1000 bytes early" in str(caught.value)


def test_a_file_removed_before_it_is_read(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint({"model.safetensors": safetensors_bytes({"w": ("F32", [1], bytes(4))})})
    opened = open_local(folder)
    (folder / "model.safetensors").unlink()
    with TensorReader(opened) as reader, pytest.raises(InputError, match="cannot be opened: No such file"):
        read(reader, opened.header.tensors["w"], 0, 4)
