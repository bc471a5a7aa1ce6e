"""What stands in a partial folder is written to only if it is a plain file of ours; everything else goes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgec.errors import ToolError
from edgec.store.actions import ActionStore, Workspace
from edgec.store.remains import delete, make_usable

KEY = "sha256:" + "a" * 64
NAME = "model.gguf"


@pytest.fixture
def store(tmp_path: Path) -> ActionStore:
    return ActionStore(tmp_path / "store")


@pytest.fixture
def partial(store: ActionStore) -> Path:
    """A partial folder, as a killed step leaves it."""
    folder = store.root / "partial" / ("a" * 64)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    return path


def fill(store: ActionStore) -> bytes:
    """Runs a step that resumes in place; returns what it stored."""
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        with (work.folder / NAME).open("ab") as file:
            file.write(b"weights")
        return work.commit({NAME: None}, {}).path(NAME).read_bytes()


def test_a_plain_file_is_resumed(store: ActionStore, partial: Path) -> None:
    (partial / NAME).write_bytes(b"first ")
    assert fill(store) == b"first weights"


def test_a_symbolic_link_is_not_followed(store: ActionStore, partial: Path, victim: Path) -> None:
    (partial / NAME).symlink_to(victim)
    assert fill(store) == b"weights"
    assert victim.read_bytes() == b"precious"


def test_a_hard_link_is_not_shared(store: ActionStore, partial: Path, victim: Path) -> None:
    (partial / NAME).hardlink_to(victim)
    assert fill(store) == b"weights"
    assert victim.read_bytes() == b"precious"


def test_a_folder_and_a_pipe_give_way(store: ActionStore, partial: Path) -> None:
    (partial / NAME / "deep").mkdir(parents=True)
    os.mkfifo(partial / "pipe")
    assert fill(store) == b"weights"


def test_a_folder_that_is_a_link_or_a_file_gives_way(store: ActionStore, partial: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    partial.rmdir()
    partial.symlink_to(elsewhere)
    assert fill(store) == b"weights"
    assert list(elsewhere.iterdir()) == []
    store.remove("results/" + "a" * 64)
    partial.write_bytes(b"")
    assert fill(store) == b"weights"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_a_file_of_another_user_gives_way(partial: Path) -> None:
    (partial / NAME).write_bytes(b"theirs")
    os.chown(partial / NAME, 65534, 65534)
    make_usable(partial)
    assert list(partial.iterdir()) == []


def test_a_read_only_file_becomes_writable(partial: Path) -> None:
    (partial / NAME).write_bytes(b"x")
    (partial / NAME).chmod(0o444)
    make_usable(partial)
    assert stat.S_IMODE((partial / NAME).stat().st_mode) & stat.S_IWUSR


def test_an_ordinary_user_resumes_read_only_remains(store: ActionStore, partial: Path) -> None:
    (partial / NAME).write_bytes(b"first ")
    (partial / NAME).chmod(0o444)
    code = (
        "import sys; from pathlib import Path; from edgec.store.actions import ActionStore\n"
        f"with ActionStore(Path({str(store.root)!r})).work({KEY!r}) as work:\n"
        f"    file = (work.folder / {NAME!r}).open('ab'); file.write(b'weights'); file.close()\n"
        f"    work.commit({{{NAME!r}: None}}, {{}})\n"
    )
    command = [*ordinary(), sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60)
    found = store.lookup(KEY)
    assert found is not None
    assert found.path(NAME).read_bytes() == b"first weights"


def ordinary() -> list[str]:
    """What to put before a command so that file modes count for it, as they do for all users but root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here to give up root's powers")
    powers = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]


def test_deleting_a_link_spares_what_it_leads_to(tmp_path: Path, victim: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(victim)
    delete(link)
    delete(link)
    assert not link.is_symlink()
    assert victim.read_bytes() == b"precious"


def test_a_damaged_result_that_is_a_link_is_replaced(store: ActionStore, tmp_path: Path) -> None:
    (store.root / "results").mkdir(parents=True)
    (store.root / "results" / ("a" * 64)).symlink_to(tmp_path / "nowhere")
    assert fill(store) == b"weights"


def test_what_cannot_be_removed_is_an_error_to_act_on(store: ActionStore) -> None:
    store.root.mkdir()
    (store.root / "partial").write_bytes(b"")
    with pytest.raises(ToolError), store.work(KEY):
        pass
