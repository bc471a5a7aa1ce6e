"""Shards: never larger than asked, read by llama.cpp's own reader as one model, impossible limits named."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import tiny_models

from edgec.errors import InputError
from edgec.events import silent
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.formats.gguf.reader import read_gguf_header
from edgec.source.local import open_local
from edgec.source.model import Checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_local(tiny_models.DOCS_LLAMA)


def _plan(checkpoint: Checkpoint, limit: int | None) -> GgufLayout:
    return plan_layout(
        tiny_models.map_by_hand(checkpoint),
        tiny_models.vocabulary_by_hand(checkpoint),
        checkpoint.header.tensors,
        scheme="q8_0",
        shard_size_bytes=limit,
        name="docs-q8_0",
    )


def test_shards_hold_what_the_single_file_holds(checkpoint: Checkpoint, tmp_path: Path) -> None:
    single, split = _plan(checkpoint, None), _plan(checkpoint, 2_000_000)
    assert [f.name for f in split.files] == [f"docs-q8_0-{i:05d}-of-00004.gguf" for i in range(1, 5)]
    one = compile_gguf(checkpoint, single, tmp_path / "one", imatrix=None, report=silent, action="compile")
    four = compile_gguf(checkpoint, split, tmp_path / "four", imatrix=None, report=silent, action="compile")
    assert one.tensors == four.tensors
    assert sorted(p.name for p in (tmp_path / "four").iterdir()) == [f.name for f in split.files]
    names: list[str] = []
    for index, file in enumerate(split.files):
        path = tmp_path / "four" / file.name
        assert path.stat().st_size == file.size_bytes <= 2_000_000
        header = read_gguf_header(path)
        assert [header.metadata[f"split.{k}"].value for k in ("no", "count", "tensors.count")] == [index, 4, 56]
        assert ("general.architecture" in header.metadata) == (index == 0)
        assert len(gguf.GGUFReader(path).tensors) == len(header.tensors)
        names += header.tensors
    assert names == [t.name for t in single.tensors]


def test_a_limit_that_everything_fits_in_makes_one_plain_file(checkpoint: Checkpoint) -> None:
    single = _plan(checkpoint, None)
    assert _plan(checkpoint, single.size_bytes) == single
    assert len(_plan(checkpoint, single.size_bytes - 1).files) == 2


@pytest.mark.parametrize("limit", range(1_200_000, 6_000_000, 370_001))
def test_no_shard_is_larger_than_the_limit_and_none_is_empty(limit: int, checkpoint: Checkpoint) -> None:
    layout = _plan(checkpoint, limit)
    assert all(f.size_bytes <= limit for f in layout.files)
    assert {t.file for t in layout.tensors} >= {f.name for f in layout.files[1:]}


def test_impossible_limits_name_what_does_not_fit(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"the tensor token_embd.weight alone needs \d+ bytes"):
        _plan(checkpoint, 1_000_000)
    with pytest.raises(InputError, match="the vocabulary"):
        _plan(checkpoint, 10_000)
