"""Environments are whole and what the lock says, or not there; the error says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_wheels import pin, toolchain_of, write_wheel

from edgec.errors import ToolError
from edgec.events import ActionFinished, ActionStarted, Event, Progress, silent
from edgec.toolchain.definition import Toolchain
from edgec.toolchain.environment import folder_name
from edgec.toolchain.environments import Environment, in_use, install, installed, remove


def make(toolchain: Toolchain, tmp_path: Path, *, events: list[Event] | None = None) -> Environment:
    report = silent if events is None else events.append
    return install(toolchain, tmp_path / "root", offline=True, report=report, log=tmp_path / "logs" / "pip.log")


def refused(toolchain: Toolchain, tmp_path: Path, match: str) -> str:
    """The hint of the refusal; nothing may be left."""
    with pytest.raises(ToolError, match=match) as failed:
        make(toolchain, tmp_path)
    assert installed(toolchain, tmp_path / "root") is None
    assert remains(tmp_path) == []
    return failed.value.diagnostics[0].hint or ""


def remains(tmp_path: Path) -> list[str]:
    """What stands beside locks and kept wheels."""
    return sorted(p.name for p in (tmp_path / "root").glob("*") if p.name not in ("locks", "wheels"))


def test_a_lock_becomes_an_environment_with_exactly_its_pins(tmp_path: Path, shelf: Path) -> None:
    code = "import sys\n\ndef main():\n    print(sys.executable)\n"
    wheel = write_wheel(shelf, "tiny", code=code, script="tiny-tool")
    write_wheel(shelf, "tiny", "2.0")
    elsewhere = pin(write_wheel(shelf, "elsewhere")).replace("==1.0", "==1.0 ; sys_platform == 'win32'")
    toolchain = toolchain_of(tmp_path / "small.lock", pin(wheel), elsewhere, smoke=("tiny",))
    events: list[Event] = []
    made = make(toolchain, tmp_path, events=events)
    assert made.versions["tiny"] == "1.0"
    assert set(made.versions) <= {"tiny", "pip", "setuptools"}
    assert made.lock_digest == toolchain.lock_digest
    assert [p.name for p in made.folder.parent.glob("small-*")] == [made.folder.name]
    # The scripts name the environment where it stands, not where it was made.
    ran = subprocess.run([made.folder / "bin" / "tiny-tool"], capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).parent == made.folder / "bin"
    texts = [made.folder / "pyvenv.cfg", *(p for p in (made.folder / "bin").iterdir() if not p.is_symlink())]
    assert [p.name for p in texts if ".partial" in p.read_text()] == []
    assert isinstance(events[0], ActionStarted)
    assert isinstance(events[-1], ActionFinished)
    steps = [(e.done, e.total) for e in events if isinstance(e, Progress)]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]
    # A second time there is nothing to do, and nothing is said.
    events.clear()
    assert make(toolchain, tmp_path, events=events) == made == installed(toolchain, tmp_path / "root")
    assert events == []


def test_wheels_are_kept_for_an_install_without_anything_else(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny")))
    assert remove(toolchain, tmp_path / "root") == 0
    made = make(toolchain, tmp_path)
    assert remove(toolchain, tmp_path / "root") > 100_000
    assert not made.folder.exists()
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert make(toolchain, tmp_path).versions["tiny"] == "1.0"


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, shelf: Path) -> None:
    wheel = write_wheel(shelf, "tiny")
    toolchain = toolchain_of(tmp_path / "small.lock", pin(wheel))
    write_wheel(shelf, "tiny", code="print('not what was locked')\n")
    refused(toolchain, tmp_path, "DO NOT MATCH THE HASHES")


def test_what_the_lock_forgets_is_found(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "other")
    toolchain = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny", needs=("other",))))
    refused(toolchain, tmp_path, "tiny 1.0 requires other, which is not installed")


def test_an_overridden_demand_is_excused_and_no_other(tmp_path: Path, shelf: Path) -> None:
    wheel = write_wheel(shelf, "tiny", needs=("other<=1.0", "third"))
    other, third = write_wheel(shelf, "other", "2.0"), write_wheel(shelf, "third")
    lacking = toolchain_of(tmp_path / "less.lock", pin(wheel), pin(other), overrides=("other==2.0",))
    refused(lacking, tmp_path, "tiny: third is missing")
    toolchain = toolchain_of(tmp_path / "small.lock", pin(wheel), pin(other), pin(third), overrides=("other==2.0",))
    assert make(toolchain, tmp_path).versions["other"] == "2.0"


def test_a_module_that_cannot_be_imported_is_found(tmp_path: Path, shelf: Path) -> None:
    wheel = write_wheel(shelf, "tiny", code="raise RuntimeError('built for another machine')\n")
    toolchain = toolchain_of(tmp_path / "small.lock", pin(wheel), smoke=("tiny",))
    refused(toolchain, tmp_path, "built for another machine")


def test_a_full_disk_is_said_before_anything_is_made(tmp_path: Path, shelf: Path) -> None:
    toolchain = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny")), disk_mib=1 << 40)
    assert "edgec clean" in refused(toolchain, tmp_path, f"needs {1 << 40} MiB of disk")
    assert not (tmp_path / "logs").exists()


def test_another_platform_is_refused(tmp_path: Path, shelf: Path) -> None:
    toolchain = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny")), platforms=("linux-riscv64",))
    refused(toolchain, tmp_path, "runs on linux-riscv64, not on")


def test_torch_comes_first_as_a_cpu_build_and_by_version(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "torch", "2.13.0+cpu")
    toolchain = toolchain_of(
        tmp_path / "heavy.lock",
        pin(write_wheel(shelf, "tiny", needs=("torch",))),
        smoke=("torch", "tiny"),
        torch="2.13.0",
    )
    assert make(toolchain, tmp_path).versions["torch"] == "2.13.0+cpu"
    log = (tmp_path / "logs" / "pip.log").read_text()
    assert log.index("Successfully installed torch") < log.index("Successfully installed tiny")


def test_a_torch_for_cuda_is_refused_before_it_is_downloaded(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "torch", "2.13.0", needs=("nvidia-cublas==13.0 ; platform_system == 'Linux'",))
    toolchain = toolchain_of(tmp_path / "heavy.lock", pin(write_wheel(shelf, "tiny")), torch="2.13.0")
    assert "PIP_EXTRA_INDEX_URL" in refused(toolchain, tmp_path, "torch 2.13.0 that pip finds is built for CUDA")
    assert "Saved" not in (tmp_path / "logs" / "pip.log").read_text()


@pytest.mark.parametrize("damage", ["record", "renamed", "added", "python"])
def test_an_environment_that_was_changed_is_none(tmp_path: Path, tiny: Environment, damage: str) -> None:
    folder = tmp_path / tiny.folder.name
    shutil.copytree(tiny.folder, folder, symlinks=True)
    packages = folder / tiny.site_packages.relative_to(tiny.folder)
    assert installed(tiny.toolchain, tmp_path) is not None
    if damage == "record":
        (folder / "edgec-environment.json").write_text("{}")
    elif damage == "renamed":
        (packages / "tiny-1.0.dist-info").rename(packages / "tiny-0.9.dist-info")
    elif damage == "added":
        (packages / "other-1.0.dist-info").mkdir()
    else:
        # The system's Python was removed.
        (folder / "bin" / "python").unlink()
        (folder / "bin" / "python").symlink_to("/nowhere/python3")
    assert installed(tiny.toolchain, tmp_path) is None


def test_what_is_broken_is_made_again_and_what_a_kill_left_goes(tmp_path: Path, shelf: Path) -> None:
    toolchain = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny")))
    for minor in toolchain.python_minors:
        folder = tmp_path / "root" / folder_name(toolchain, minor)
        (folder / "lib").mkdir(parents=True)
        folder.with_name(f".partial-{folder.name}-killed").mkdir()
    made = make(toolchain, tmp_path)
    assert made.versions["tiny"] == "1.0"
    assert [p.name for p in made.folder.parent.glob(f".partial-{made.folder.name}-*")] == []


def test_a_new_lock_is_a_new_environment_and_the_old_one_goes_with_remove(tmp_path: Path, shelf: Path) -> None:
    old = make(toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny"))), tmp_path)
    newer = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny", "1.1")))
    assert installed(newer, tmp_path / "root") is None
    new = make(newer, tmp_path)
    assert (old.folder.is_dir(), new.versions["tiny"]) == (True, "1.1")
    remove(newer, tmp_path / "root")
    assert remains(tmp_path) == []


def test_one_in_use_is_not_removed(tiny: Environment) -> None:
    root = tiny.folder.parent
    with in_use(tiny), pytest.raises(ToolError, match="is in use"):
        remove(tiny.toolchain, root)
    assert installed(tiny.toolchain, root) == tiny


def test_a_name_that_begins_with_another_is_another_toolchain(tmp_path: Path, tiny: Environment) -> None:
    longer = tiny.folder.parent / f"tiny-next-{tiny.folder.name.rpartition('-')[2]}"
    longer.mkdir()
    shorter = toolchain_of(tmp_path / "tin.lock")
    assert remove(shorter, tiny.folder.parent) == 0
    assert longer.is_dir()
    longer.rmdir()


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path, shelf: Path) -> None:
    toolchain = toolchain_of(tmp_path / "small.lock", pin(write_wheel(shelf, "tiny")))
    (tmp_path / "root").write_text("a file")
    with pytest.raises(ToolError) as failed:
        make(toolchain, tmp_path)
    assert "EDGEC_CACHE" in (failed.value.diagnostics[0].hint or "")


def test_the_record_is_json_that_names_the_lock(tiny: Environment) -> None:
    record = json.loads((tiny.folder / "edgec-environment.json").read_bytes())
    assert record["lock_digest"] == tiny.lock_digest
    assert record["versions"]["tiny"] == "1.0"
    assert record["distributions"] == sorted(p.name for p in tiny.site_packages.glob("*.dist-info"))
    assert sys.version_info[:2] == tuple(int(n) for n in tiny.site_packages.parent.name[6:].split("."))
