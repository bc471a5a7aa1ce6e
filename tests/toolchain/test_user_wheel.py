"""A wheel that the user brings: refused when it is not what is needed, else part of the environment by its digest."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_wheels import pin, toolchain_of, write_wheel
from user_wheels import HERE, write_user_wheel

from edgec.documents.canonical import sha256_file
from edgec.errors import InputError, ToolError
from edgec.events import silent
from edgec.toolchain.definition import Toolchain, WheelDemand, find_toolchain
from edgec.toolchain.environments import Environment, install, installed, run_json
from edgec.toolchain.user_wheel import find_user_wheel

VARIABLE = "EDGEC_CLOSED_WHEEL"
OWN = f"cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-{HERE}"


def refusal(toolchain: Toolchain, named: str | None) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        find_user_wheel(toolchain, {} if named is None else {"EDGEC_RKLLM_WHEEL": named})
    (found,) = caught.value.diagnostics
    return f"{found.place or ''} {found.message}", found.hint or ""


def test_without_the_variable_it_is_said_where_the_wheel_is_and_what_to_set() -> None:
    for named in (None, ""):
        message, hint = refusal(find_toolchain("rkllm"), named)
        assert "EDGEC_RKLLM_WHEEL is not set" in message
        assert "github.com/airockchip/rknn-llm" in hint


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "rknn-toolkit2"}, "is rknn-toolkit2 1.3.0, not rkllm-toolkit 1.3.0"),
        ({"version": "1.2.3"}, "is rkllm-toolkit 1.2.3, not rkllm-toolkit 1.3.0"),
        ({"tag": "cp39-cp39-linux_x86_64"}, "is for cp39, and the toolchain is for Python >=3.11,<3.13"),
        ({"tag": "cp311-cp311-win_amd64"}, f"is for win_amd64, and this machine is {HERE}"),
        ({"tag": "cp311-cp311-linux_riscv64"}, "is for linux_riscv64"),
    ],
)
def test_a_wheel_for_something_else_is_refused(tmp_path: Path, changes: dict[str, str], expected: str) -> None:
    path = write_user_wheel(tmp_path, **changes)  # type: ignore[arg-type]
    message, hint = refusal(find_toolchain("rkllm"), str(path))
    assert expected in message
    assert str(path) in message
    assert "rkllm-toolkit 1.3.0" in hint


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    cut = write_user_wheel(tmp_path / "cut")
    cut.write_bytes(cut.read_bytes()[:100])
    (tmp_path / "text.whl").write_text("no zip")
    empty = write_wheel(tmp_path, "tiny").with_suffix(".zip")
    empty.write_bytes(b"PK\5\6" + bytes(18))
    for path, expected in (
        (tmp_path / "absent.whl", "does not exist"),
        (tmp_path, "is a folder"),
        (cut, "no wheel that can be read"),
        (tmp_path / "text.whl", "no wheel that can be read"),
        (empty, "no wheel that can be read"),
    ):
        assert expected in refusal(find_toolchain("rkllm"), str(path))[0]


def closed(tmp_path: Path, shelf: Path) -> Toolchain:
    """A toolchain of one locked wheel and one that the user must bring."""
    demand = WheelDemand(
        variable=VARIABLE, distribution="closed-tool", version="1.0", smoke=("closed.api",), where="its maker"
    )
    made = toolchain_of(tmp_path / "closed.lock", pin(write_wheel(shelf, "tiny")), smoke=("tiny",))
    return replace(made, user_wheel=demand)


def made(toolchain: Toolchain, tmp_path: Path) -> Environment:
    return install(toolchain, tmp_path / "root", offline=True, report=silent, log=tmp_path / "pip.log")


def bring(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> Path:
    path = write_user_wheel(folder, name="closed-tool", version="1.0", tag=OWN, code=code, module="closed/api.py")
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def test_it_is_installed_with_the_lock_and_another_one_is_another_environment(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain = closed(tmp_path, shelf)
    with pytest.raises(InputError, match=f"{VARIABLE} is not set"):
        made(toolchain, tmp_path)
    wheel = bring(monkeypatch, tmp_path / "a", "NUMBER = 1\n")
    first = made(toolchain, tmp_path)
    assert (first.versions["closed-tool"], first.versions["tiny"]) == ("1.0", "1.0")
    assert first.user_wheel == sha256_file(wheel)
    assert made(toolchain, tmp_path) == first == installed(toolchain, tmp_path / "root")
    # Nobody may pass it on: it is not among the kept wheels.
    assert not list((tmp_path / "root" / "wheels").glob("closed*"))
    script = tmp_path / "script.py"
    script.write_text("def run(request, progress):\n    import closed.api\n    return {'n': closed.api.NUMBER}\n")
    assert run_json(first, script, {}, timeout_s=60, log=tmp_path / "log")["n"] == 1
    bring(monkeypatch, tmp_path / "b", "NUMBER = 2\n")
    second = made(toolchain, tmp_path)
    assert second.folder != first.folder
    assert run_json(second, script, {}, timeout_s=60, log=tmp_path / "log")["n"] == 2


def test_one_that_cannot_be_imported_leaves_nothing(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain = closed(tmp_path, shelf)
    bring(monkeypatch, tmp_path / "a", "import a_module_that_nobody_has\n")
    with pytest.raises(ToolError, match="a_module_that_nobody_has"):
        made(toolchain, tmp_path)
    assert installed(toolchain, tmp_path / "root") is None
    assert not list((tmp_path / "root").glob("*closed-*"))
