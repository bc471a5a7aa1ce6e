"""Tools end: well, with their output in an error, or killed with everything they started."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from edgec.errors import ToolError
from edgec.toolchain.process import run_tool


def run(tmp_path: Path, code: str, *, timeout_s: float = 20.0, env: dict[str, str] | None = None) -> str:
    """Runs Python code as a tool."""
    return run_tool([sys.executable, "-c", code], log=log_of(tmp_path), timeout_s=timeout_s, env=env or {})


def log_of(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "tool.log"


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended (a zombie waits for its parent only)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_output_of_both_streams_is_returned_and_logged(tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert run(tmp_path, code) == "out\nerr\n"
    assert log_of(tmp_path).read_text() == "out\nerr\n"


def test_output_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    assert run(tmp_path, "import sys; sys.stdout.buffer.write(b'\\xff\\n')") == "\ufffd\n"


def test_the_environment_is_what_was_given_and_there_is_no_input(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    code = "import os, sys; print(os.environ.get('SECRET'), os.environ['GIVEN'], repr(sys.stdin.read()))"
    assert run(tmp_path, code, env={"GIVEN": "yes"}) == "None yes ''\n"


def test_a_failure_shows_the_end_of_the_output_and_the_log(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as failed:
        run(tmp_path, "import sys; print(*range(100), sep='\\n'); sys.exit(7)")
    (diagnostic,) = failed.value.diagnostics
    assert "exited with 7" in diagnostic.message
    shown = [line for line in diagnostic.message.splitlines() if line.startswith("  | ")]
    assert shown == [f"  | {n}" for n in range(80, 100)]
    assert str(log_of(tmp_path)) in (diagnostic.hint or "")
    assert log_of(tmp_path).read_text().count("\n") == 100


def test_a_crash_names_its_signal(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="was killed by SIGSEGV"):
        run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_hang_ends_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ToolError, match="did not end within 1 s") as failed:
        run(tmp_path, "import time; print('working', flush=True); time.sleep(60)", timeout_s=1.0)
    assert time.monotonic() - started < 10
    assert "  | working" in failed.value.diagnostics[0].message


@pytest.mark.parametrize(("then", "timeout_s"), [("sys.exit(0)", 20.0), ("sys.exit(1)", 20.0), ("time.sleep(60)", 1.0)])
def test_nothing_a_tool_started_outlives_it(tmp_path: Path, then: str, timeout_s: float) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid)); {then}"
    )
    try:
        run(tmp_path, code, timeout_s=timeout_s)
    except ToolError:
        assert then != "sys.exit(0)"
    pid = int(pid_file.read_text())
    give_up = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not is_running(pid)


@pytest.mark.parametrize("name", ["no-such-tool", "not-executable"])
def test_a_tool_that_cannot_be_started_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "not-executable").write_text("text")
    with pytest.raises(ToolError, match="cannot be started") as failed:
        run_tool([str(tmp_path / name)], log=log_of(tmp_path), timeout_s=5, env=dict(os.environ))
    assert failed.value.diagnostics[0].hint


def test_a_log_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(ToolError, match="the log cannot be written"):
        run(tmp_path, "pass")
