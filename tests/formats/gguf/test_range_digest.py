"""The digest of a range whose pieces come in any order, from any thread."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgec.errors import ToolError
from edgec.formats.gguf.layout import FilePlan, GgufLayout
from edgec.formats.gguf.output import OutputFiles
from edgec.formats.gguf.range_digest import RangeDigest

_START, _PIECE, _COUNT = 100, 7001, 300
_DATA = np.random.default_rng(0).bytes(_PIECE * _COUNT)
_END = _START + len(_DATA)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[OutputFiles]:
    layout = GgufLayout("q8_0", (FilePlan("a", b"", _END + 50),), ())
    with OutputFiles(tmp_path, layout) as files:
        yield files


def _digest(files: OutputFiles, stop: threading.Event | None = None) -> RangeDigest:
    return RangeDigest(files, "a", _START, _END, stop or threading.Event())


def _finish(digest: RangeDigest, files: OutputFiles, index: int) -> bool:
    """Write a piece, then hand it in."""
    data = _DATA[index * _PIECE :][:_PIECE]
    files.write("a", data, _START + index * _PIECE)
    return digest.add(_START + index * _PIECE, data)


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_any_order_and_any_threads(files: OutputFiles, order: str, workers: int) -> None:
    indices = list(range(_COUNT))
    if order == "backward":
        indices.reverse()
    elif order == "shuffled":
        np.random.default_rng(1).shuffle(indices)
    digest = _digest(files)
    with ThreadPoolExecutor(workers) as pool:
        ends = list(pool.map(lambda i: _finish(digest, files, i), indices))
    assert ends.count(True) == 1
    assert digest.sha256 == f"sha256:{hashlib.sha256(_DATA).hexdigest()}"


def test_what_stands_in_the_file_already_is_read_from_it(files: OutputFiles) -> None:
    digest = _digest(files)
    files.write("a", _DATA, _START)
    digest.note(_START + _PIECE, (_COUNT - 2) * _PIECE)
    assert not digest.add(_START, _DATA[:_PIECE])
    assert digest.add(_START + (_COUNT - 1) * _PIECE, _DATA[-_PIECE:])
    assert digest.sha256 == f"sha256:{hashlib.sha256(_DATA).hexdigest()}"


def test_a_missing_piece_is_no_digest(files: OutputFiles) -> None:
    digest = _digest(files)
    for index in range(_COUNT):
        if index != 17:
            assert not _finish(digest, files, index)
    with pytest.raises(ValueError, match="hashed up to"):
        _ = digest.sha256


def test_a_file_that_was_cut_is_an_error(files: OutputFiles, tmp_path: Path) -> None:
    digest = _digest(files)
    digest.note(_START + _PIECE, (_COUNT - 1) * _PIECE)
    with (tmp_path / "a").open("r+b") as file:
        file.truncate(_START + 2 * _PIECE)
    with pytest.raises(ToolError, match="cut while it was written"):
        digest.add(_START, _DATA[:_PIECE])


def test_a_stopped_run_hashes_no_more(files: OutputFiles) -> None:
    stop = threading.Event()
    digest = _digest(files, stop)
    digest.note(_START + _PIECE, (_COUNT - 1) * _PIECE)
    stop.set()
    assert not digest.add(_START, _DATA[:_PIECE])
    with pytest.raises(ValueError, match="hashed up to"):
        _ = digest.sha256
