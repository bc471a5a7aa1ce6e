"""The journal survives power loss: what is not whole was not written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.device.journal import Journal


def test_states_are_remembered_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.last is None
    journal.reach("verified", {"manifest": "x"})
    journal.reach("building", {"started": "1"})
    journal.reach("building", {"started": "2"})
    again = Journal(tmp_path / "journal")
    assert again.last is not None
    assert again.last.state == "building"
    assert again.data("building") == {"started": "2"}
    assert again.data("verified") == {"manifest": "x"}
    assert again.data("active") == {}


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_that_was_cut_off_counts_as_not_written(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.reach("unpacked")
    whole = path.read_bytes()
    journal.reach("built", {"files": {}})
    path.write_bytes(path.read_bytes()[: -min(cut, len(path.read_bytes()) - len(whole))])
    again = Journal(path)
    assert again.last is not None
    assert again.last.state == "unpacked"
    again.reach("building")
    assert [line.split(b'"')[-2] for line in path.read_bytes().splitlines()] == [b"unpacked", b"building"]


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b'{"state": "flown", "data": {}}\n', b"[]\n", b'"x"\n'])
def test_a_damaged_journal_means_from_the_beginning(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(data)
    journal = Journal(path)
    assert journal.last is None
    journal.reach("unpacked")
    assert Journal(path).last is not None
