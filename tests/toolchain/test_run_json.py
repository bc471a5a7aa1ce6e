"""Scripts answer with JSON, and whatever else they do is an error that names the log; nothing of them lives on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from test_install_kill import until
from test_process import is_running

from edgec.errors import ToolError
from edgec.events import Event, Progress
from edgec.toolchain.environments import Environment, run_json
from edgec.toolchain.memory import available_mib


@pytest.fixture
def ask(tiny: Environment, tmp_path: Path):
    """Runs the body of a script's `run` and returns its answer."""

    def run(body: str, request: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        script = tmp_path / "script.py"
        script.write_text("def run(request, progress):\n" + textwrap.indent(textwrap.dedent(body), "    "))
        limits = {"timeout_s": 60.0, "log": tmp_path / "logs" / "script.log", **options}
        answer = run_json(tiny, script, request or {}, **limits)
        assert 1 < answer.pop("peak_mib") < 100
        return answer

    return run


def test_a_script_answers_from_within_the_environment(ask, tiny: Environment, tmp_path: Path) -> None:
    events: list[Event] = []
    body = """
        import sys, tiny
        print("what a tool prints")
        progress(1, 2, "files")
        progress(2, 2, "files", "b.onnx")
        return {"value": tiny.VALUE + request["add"], "python": sys.executable, "text": "äöü \\u2028"}
    """
    answer = ask(body, {"add": 1}, report=events.append)
    assert answer == {"value": 43, "python": str(tiny.python), "text": "äöü \u2028"}
    action = "tiny: script"
    assert events == [Progress(action, 1, 2, "files"), Progress(action, 2, 2, "files", "b.onnx")]
    assert (tmp_path / "logs" / "script.log").read_text() == "what a tool prints\n"


def test_a_large_request_and_a_large_answer_pass(ask) -> None:
    text = "x" * 5_000_000
    assert ask("return {'back': request['text'][::-1]}", {"text": text}) == {"back": text}


def test_our_folders_do_not_come_before_the_standard_library(ask, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "types.py").write_text("raise RuntimeError('ours')\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "json.py").write_text("raise RuntimeError('theirs')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    assert ask("import enum, json, types; return {'kind': types.ModuleType.__name__}") == {"kind": "module"}


def test_secrets_do_not_reach_a_tool_and_it_is_told_to_stay_offline(ask, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@example.org/simple")
    answer = ask("import os; return dict(os.environ)", env={"GIVEN": "yes"})
    assert "secret" not in str(answer)
    assert (answer["GIVEN"], answer["HF_HUB_OFFLINE"]) == ("yes", "1")
    assert not [name for name in answer if name.startswith("EDGEC_")]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (
            "raise ValueError('no such operator')",
            r"the toolchain `tiny` \(script\) exited with 1: ValueError: no such operator\n",
        ),
        ("import sys; sys.exit(0)", "ended without a result"),
        ("import os; os._exit(0)", "ended without a result"),
        ("return None", 'answered what is no reply: \'{"result": null, "peak_mib": '),
        ("return {'kl': float('nan')}", "not JSON compliant"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            r"the toolchain `tiny` \(script\) was killed by SIGKILL, which the kernel does when memory runs out",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"`tiny` \(script\) was killed by SIGSEGV"),
        ("progress('one', 2, 'files'); return {}", "answered what is no reply"),
    ],
)
def test_a_script_that_fails_names_what_and_where(ask, tmp_path: Path, body: str, match: str) -> None:
    with pytest.raises(ToolError, match=match) as failed:
        ask(body)
    assert str(tmp_path / "logs" / "script.log") in (failed.value.diagnostics[0].hint or "")


def test_garbage_among_the_replies_is_no_success(ask) -> None:
    body = """
        progress.__self__._file.write("garbage\\n")
        return {"done": True}
    """
    with pytest.raises(ToolError, match="answered what is no reply: 'garbage'"):
        ask(body)


def test_only_the_end_of_a_long_output_is_shown(ask) -> None:
    with pytest.raises(ToolError) as failed:
        ask("print(*range(1000), sep='\\n'); import sys; sys.exit(5)")
    shown = [line for line in failed.value.diagnostics[0].message.splitlines() if line.startswith("  | ")]
    assert shown == [f"  | {n}" for n in range(980, 1000)]


def test_a_hang_ends_in_time_with_all_it_started(ask, tmp_path: Path) -> None:
    body = f"""
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        time.sleep(60)
    """
    started = time.monotonic()
    with pytest.raises(ToolError, match="did not end within 3 s"):
        ask(body, timeout_s=3.0)
    assert time.monotonic() - started < 20
    until(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_too_little_memory_is_said_before_anything_runs(ask, tmp_path: Path) -> None:
    available = available_mib()
    assert available is not None
    with pytest.raises(ToolError, match=rf"toolchain `tiny` needs {1 << 30} MiB of memory, and \d+ MiB are available"):
        ask("return {}", memory_mib=1 << 30)
    assert not (tmp_path / "logs").exists()


def test_a_tool_is_the_first_to_go_when_memory_runs_out(ask) -> None:
    assert ask("return {'score': int(open('/proc/self/oom_score_adj').read())}") == {"score": 1000}


def test_a_tool_that_waits_for_any_child_gets_only_its_own(ask) -> None:
    body = """
        import os
        try:
            os.wait()
        except ChildProcessError:
            return {"children": 0}
    """
    assert ask(body) == {"children": 0}


def test_a_tool_and_all_it_started_die_with_edgec(tiny: Environment, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "def run(request, progress):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"    pathlib.Path({str(tmp_path / 'pids')!r}).write_text(f'{{os.getpid()}} {{child.pid}}.')\n"
        "    time.sleep(60)\n"
    )
    driver = (
        "from pathlib import Path\n"
        "from edgec.toolchain.environment import Environment\n"
        "from edgec.toolchain.environments import run_json, Toolchain\n"
        f"toolchain = Toolchain('tiny', '', Path('none'), range(11, 12), (), (), 1, 1)\n"
        f"environment = Environment(toolchain, Path({str(tiny.folder)!r}), Path({str(tiny.python)!r}), '', {{}})\n"
        f"run_json(environment, Path({str(script)!r}), {{}}, timeout_s=60, log=Path({str(tmp_path / 'log')!r}))\n"
    )
    edgec = subprocess.Popen([sys.executable, "-c", driver])
    pids = tmp_path / "pids"
    until(lambda: pids.exists() and pids.read_text().endswith("."))
    tool, child = (int(n) for n in pids.read_text().rstrip(".").split())
    assert is_running(tool)
    assert os.getpgid(child) == os.getpgid(tool)
    edgec.kill()
    edgec.wait()
    until(lambda: not is_running(tool) and not is_running(child))
