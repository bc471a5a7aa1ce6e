"""Folders of trials: those of the dead go at the next start, those of the living and of others stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgec.trial.folders import trial_folder
from edgec.trial.owners import is_left_behind, own_mark

OWNER = """
import time
from edgec.trial.folders import trial_folder
with trial_folder("dify") as folder:
    (folder / "model.gguf").write_bytes(b"large")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def test_it_ends_with_the_block(temporary: Path) -> None:
    with trial_folder("verify") as folder:
        assert folder.parent == temporary
        assert list(folder.iterdir()) == []
        with trial_folder("verify") as other:
            assert other != folder
        assert folder.exists()
    assert list(temporary.iterdir()) == []


def test_what_the_killed_left_goes_at_the_next_start(temporary: Path) -> None:
    unknown = temporary / "edgec-dify-by-hand"
    unknown.mkdir()
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        left = Path(owner.stdout.readline().strip())
        with trial_folder("verify"):
            assert left.exists()
        owner.kill()
        owner.wait()
        assert left.exists()
    with trial_folder("verify"):
        assert not left.exists()
    assert list(temporary.iterdir()) == [unknown]


def test_a_link_is_not_followed(temporary: Path) -> None:
    kept = temporary / "kept"
    kept.mkdir()
    space, process, began = own_mark().split("_")
    (temporary / f"edgec-dify-{space}_{process}_{int(began) + 1}_x").symlink_to(kept)
    with trial_folder("verify"):
        assert kept.exists()


def test_who_is_dead() -> None:
    space, process, began = own_mark().split("_")
    assert not is_left_behind(own_mark())
    assert is_left_behind(f"{space}_{process}_{int(began) + 1}")
    assert not is_left_behind(f"{space}1_{process}_{int(began) + 1}")
    assert not is_left_behind("anything")
