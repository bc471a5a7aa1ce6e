"""A folder stands for a key only while nothing in it changed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgec.store.standing import StandingFolders

KEY, OTHER_KEY = "sha256:" + "1" * 64, "sha256:" + "2" * 64
FACTS = {"digest": "sha256:abc", "size_bytes": 3}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts" / "bundle"
    (folder / "blobs").mkdir(parents=True)
    (folder / "index.json").write_bytes(b"{}")
    (folder / "blobs" / "a").write_bytes(b"abc")
    return folder


@pytest.fixture
def standing(tmp_path: Path, bundle: Path) -> StandingFolders:
    records = StandingFolders(tmp_path / "records")
    records.remember(bundle, KEY, FACTS)
    return records


def test_an_untouched_folder_stands_for_its_key_only(standing: StandingFolders, bundle: Path) -> None:
    assert standing.facts(bundle, KEY) == FACTS
    assert standing.facts(bundle, OTHER_KEY) is None
    assert standing.facts(bundle.with_name("other"), KEY) is None


def test_the_same_folder_by_another_way_is_the_same(standing: StandingFolders, bundle: Path) -> None:
    assert standing.facts(bundle / ".." / "bundle", KEY) == FACTS


def _edit_keeping_time(path: Path) -> None:
    mtime_ns = path.stat().st_mtime_ns
    # The kernel's clock for files may stand still for some milliseconds.
    time.sleep(0.02)
    path.write_bytes(b"xyz")
    os.utime(path, ns=(mtime_ns, mtime_ns))


def _replace_keeping_time(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"xyz")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: (b / "index.json").write_bytes(b"{} "),
        lambda b: os.utime(b / "index.json", ns=(1, 1)),
        lambda b: (b / "blobs" / "new").write_bytes(b""),
        lambda b: (b / "blobs" / "a").unlink(),
        lambda b: (b / "blobs" / "a").rename(b / "blobs" / "b"),
        lambda b: (b / "blobs" / "empty").mkdir(),
        lambda b: (b / "link").symlink_to("nowhere"),
        lambda b: _edit_keeping_time(b / "blobs" / "a"),
        lambda b: _replace_keeping_time(b / "blobs" / "a"),
        shutil.rmtree,
    ],
    ids=["size", "time", "added", "removed", "renamed", "folder", "link", "edited", "replaced", "gone"],
)
def test_any_change_ends_it(standing: StandingFolders, bundle: Path, change: Callable[[Path], object]) -> None:
    change(bundle)
    assert standing.facts(bundle, KEY) is None


def test_links_to_a_stored_file_may_come_and_go(standing: StandingFolders, bundle: Path, tmp_path: Path) -> None:
    # A second bundle with the same weights links to them, and `edgec clean` removes the store's own link.
    blob, stored = bundle / "blobs" / "a", tmp_path / "stored"
    os.link(blob, stored)
    assert standing.facts(bundle, KEY) == FACTS
    standing.remember(bundle, KEY, FACTS)
    os.link(blob, tmp_path / "another bundle")
    assert standing.facts(bundle, KEY) == FACTS
    (tmp_path / "another bundle").unlink()
    stored.unlink()
    assert standing.facts(bundle, KEY) == FACTS


def test_a_file_stands_like_a_folder(tmp_path: Path) -> None:
    records, archive = StandingFolders(tmp_path / "records"), tmp_path / "bundle.tar"
    archive.write_bytes(b"tar")
    records.remember(archive, KEY, {})
    assert records.facts(archive, KEY) == {}
    archive.write_bytes(b"changed")
    assert records.facts(archive, KEY) is None
    archive.unlink()
    assert records.facts(archive, KEY) is None


def test_a_damaged_record_is_none(standing: StandingFolders, bundle: Path) -> None:
    (record,) = standing.root.iterdir()
    record.write_bytes(record.read_bytes()[:-5])
    assert standing.facts(bundle, KEY) is None
