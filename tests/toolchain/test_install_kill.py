"""Two installs at once are one; a killed install leaves nothing that is used, and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_process import is_running
from tiny_wheels import pin, toolchain_of, write_wheel

from edgec.toolchain.environments import installed

DRIVER = Path(__file__).with_name("install_driver.py")
# Tells its process, and waits until it may go on. HOME is among the few variables that a tool gets.
SLOW = """
import os, pathlib, time
home = pathlib.Path(os.environ["HOME"])
(home / "importing").write_text(str(os.getpid()))
while not (home / "go").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def slow(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of a toolchain whose verification waits for the file `go`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    lock = tmp_path / "slow.lock"
    toolchain_of(lock, pin(write_wheel(shelf, "slow", code=SLOW)))
    return lock


def start(lock: Path, number: int) -> subprocess.Popen[str]:
    tmp_path = lock.parent
    arguments = [str(lock), "slow", str(tmp_path / "root"), str(tmp_path / f"lock{number}")]
    return subprocess.Popen([sys.executable, str(DRIVER), *arguments], stdout=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.02)


def test_two_processes_make_one_environment(slow: Path, tmp_path: Path) -> None:
    first = start(slow, 1)
    until((tmp_path / "importing").exists)
    second = start(slow, 2)
    assert second.stdout is not None
    assert "another process is installing" in second.stdout.readline()
    (tmp_path / "go").touch()
    out, _ = first.communicate(timeout=60)
    waited, _ = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert out.splitlines()[-1] == waited.splitlines()[-1]
    assert ("ActionStarted" in out, "ActionStarted" in waited) == (True, False)


def stop(slow: Path, tmp_path: Path, number: int) -> None:
    """Stops an install in the middle of its verification; its processes end."""
    edgec = start(slow, 1)
    until(lambda: (tmp_path / "importing").exists() and (tmp_path / "importing").read_text() != "")
    tool = int((tmp_path / "importing").read_text())
    assert os.getpgid(tool) != os.getpgid(edgec.pid)
    edgec.send_signal(number)
    edgec.communicate(timeout=60)
    until(lambda: not is_running(tool))
    toolchain = toolchain_of(tmp_path / "slow.again", slow.read_text().partition("\n")[2], smoke=("slow",))
    assert installed(toolchain, tmp_path / "root") is None


def partial_folders(tmp_path: Path) -> list[str]:
    return [p.name for p in (tmp_path / "root").iterdir() if p.name.startswith(".partial")]


def test_an_interrupted_install_leaves_nothing(slow: Path, tmp_path: Path) -> None:
    stop(slow, tmp_path, signal.SIGINT)
    assert partial_folders(tmp_path) == []


def test_a_killed_install_leaves_nothing_that_counts_and_the_next_one_works(slow: Path, tmp_path: Path) -> None:
    stop(slow, tmp_path, signal.SIGKILL)
    (tmp_path / "go").touch()
    second = start(slow, 2)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert out.splitlines()[-1].startswith("made ")
    assert partial_folders(tmp_path) == []
