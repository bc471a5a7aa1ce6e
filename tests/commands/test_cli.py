"""The command line's promises: exit codes, where things are written, JSON to the last line, and a log of every bug."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from edgec import cli
from edgec.cli import VERBS, run
from edgec.errors import Diagnostic, EdgecError, ExitCode, InputError, ProofError, PublishError, ToolError

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "docs-llama"
RECIPE = f"""\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {{path: {MODEL}, licence: apache-2.0}}
context: 256
artifacts: [{{format: gguf, quantize: {{scheme: q4_0}}}}]
prove: {{held_out: {MODEL}/held_out.txt, windows: 4}}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):
    """Adds a verb to the command line that raises what it is given."""

    def add(error: BaseException) -> None:
        @click.command("fail")
        @click.option("--json", "as_json", is_flag=True)
        def fail(as_json: bool) -> None:
            raise error

        monkeypatch.setattr(cli.cli, "get_command", lambda context, name: fail)

    return add


def last_line(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def logs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "logs").glob("bug-*.log"))


@pytest.mark.parametrize(
    ("error", "code"), [(InputError, 2), (ToolError, 3), (ProofError, 4), (PublishError, 5), (EdgecError, 1)]
)
def test_each_family_of_errors_has_its_code(raising, capsys, error: type[EdgecError], code: int) -> None:
    raising(error.of("it failed", hint="do this"))
    assert run(["fail"]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: it failed\nhint: do this\n")
    assert run(["fail", "--json"]) == code
    out, err = capsys.readouterr()
    expected = {"event": "error", "exit_code": code, "diagnostics": [{"message": "it failed", "hint": "do this"}]}
    assert (last_line(out), err) == (expected, "")


def test_several_mistakes_are_counted(raising, capsys) -> None:
    raising(InputError(Diagnostic("one"), Diagnostic("two", place="model.safetensors")))
    assert run(["fail"]) == 2
    assert capsys.readouterr().err == "error: one\n\nmodel.safetensors: error: two\n\n2 mistakes\n"


@pytest.mark.parametrize(
    "arguments", [["build"], ["build", "a.yaml", "--nope"], ["nope"], ["schema", "nothing"], ["plan", "--set"]]
)
def test_a_wrong_command_line_is_exit_2_and_json_with_json(capsys, arguments: list[str]) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err
    assert run([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    error = last_line(out)
    assert (error["event"], error["exit_code"], err) == ("error", 2, "")
    assert error["diagnostics"][0]["message"]


def test_a_bug_is_exit_1_and_leaves_a_log_to_send(raising, capsys, tmp_path: Path) -> None:
    raising(ZeroDivisionError("by nothing"))
    assert run(["fail"]) == 1
    out, err = capsys.readouterr()
    (log,) = logs(tmp_path)
    assert out == ""
    assert err.splitlines()[0] == "ZeroDivisionError: by nothing"
    assert str(log) in err
    assert "Traceback" not in err
    text = log.read_text()
    assert text.startswith("edgec ")
    assert "Traceback" in text
    assert "by nothing" in text


def test_a_bug_with_json_is_an_error_event(raising, capsys, tmp_path: Path) -> None:
    raising(ZeroDivisionError("by nothing"))
    assert run(["fail", "--json"]) == 1
    error = last_line(capsys.readouterr().out)
    assert (error["event"], error["exit_code"]) == ("error", 1)
    assert error["diagnostics"][0]["message"] == "ZeroDivisionError: by nothing"
    assert str(logs(tmp_path)[0]) in error["diagnostics"][0]["hint"]


def test_a_bug_that_cannot_be_logged_is_shown(raising, capsys, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    raising(ZeroDivisionError("by nothing"))
    assert run(["fail"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_is_130(raising, capsys, tmp_path: Path, stop: BaseException) -> None:
    raising(stop)
    assert run(["fail"]) == ExitCode.INTERRUPTED == 130
    assert "interrupted" in capsys.readouterr().err
    assert run(["fail", "--json"]) == 130
    assert last_line(capsys.readouterr().out)["exit_code"] == 130
    assert logs(tmp_path) == []


def test_sigterm_ends_like_an_interruption() -> None:
    code = (
        "import os, signal, sys, click, edgec.cli as c;"
        "end = click.Command('end', callback=lambda: os.kill(os.getpid(), signal.SIGTERM));"
        "c.cli.get_command = lambda context, name: end;"
        "sys.exit(c.run(['end']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 130
    assert "interrupted" in ended.stderr


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    # More than a pipe holds, so that the command is still writing when its reader is gone.
    code = (
        "import sys, click, edgec.cli as c;"
        "talk = click.Command('talk', callback=lambda: [click.echo('x' * 1000) for _ in range(1000)]);"
        "c.cli.get_command = lambda context, name: talk;"
        "sys.argv = ['edgec', 'talk'];"
        "c.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 0
    assert logs(tmp_path) == []


def test_every_verb_has_help_and_help_is_quick_to_list(capsys) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb} " in listed
        assert run([verb, "--help"]) == 0
        assert "Usage: edgec" in capsys.readouterr().out


def test_the_help_imports_no_verb() -> None:
    code = (
        "import sys, edgec.cli as c; c.run(['--help']);"
        "sys.exit(any(m.startswith('edgec.commands.') for m in sys.modules))"
    )
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_json_lines_are_events_and_then_one_result(capsys, monkeypatch, tmp_path: Path, verb: str) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run([verb, "recipes/quickstart.yaml", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines].count("result") == 1
    assert lines[-1]["event"] == "result"


def test_quiet_prints_errors_only(capsys, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run(["check", "recipes/quickstart.yaml", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["check", "recipes/none.yaml", "--quiet"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_reader_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    """As `edgec ... | head -1` does: the work is done and the exit code says how it went."""
    found = {}
    for name, arguments in {"right": ["check", "recipes/quickstart.yaml"], "wrong": ["check", "nowhere.yaml"]}.items():
        read, write = os.pipe()
        os.close(read)
        try:
            child = subprocess.run(
                [sys.executable, "-m", "edgec", *arguments, "--json"], cwd=ROOT, check=False, stdout=write, stderr=write
            )
        finally:
            os.close(write)
        found[name] = child.returncode
    assert found == {"right": 0, "wrong": 2}
    assert logs(tmp_path) == []


def test_a_build_whose_reader_went_away_is_whole(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "edgec", "build", "recipe.yaml"]
    try:
        child = subprocess.run(command, cwd=tmp_path, check=False, stdout=write, stderr=write)
    finally:
        os.close(write)
    assert child.returncode == 0
    assert (tmp_path / "artifacts" / "small-1.0.0-pi5-8gb" / "index.json").is_file()
