"""The emulated root: what this machine lacks is told, nothing half-made stays, and what stands needs no network."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from emulated_case import emulated

from edgec.errors import ToolError
from edgec.events import silent
from edgec.toolchain.emulated.debian import require_apt
from edgec.toolchain.emulated.make_root import emulated_root
from edgec.toolchain.emulated.qemu import Qemu, cpu_title, find_qemu
from edgec.toolchain.emulated.root import Root, read_root, root_name
from edgec.toolchain.environments import Environment, find_toolchain, install, remove
from edgec.toolchain.inventory import inventory

NOWHERE = Qemu(Path("/nowhere/qemu-aarch64-static"), "7.2")


def environment_at(root: Path) -> Environment:
    """As if the toolchain were installed; nothing of it is used before the root is made."""
    toolchain = find_toolchain("emulation")
    return Environment(toolchain, root / "emulation-x", root / "emulation-x/bin/python", toolchain.lock_digest, {})


def made(environment: Environment, folder: Path, *, offline: bool = False) -> Root:
    return emulated_root(environment, NOWHERE, offline=offline, report=silent, log=folder / "log")


def test_without_qemu_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="no emulator of 64-bit ARM") as failed:
        find_qemu()
    assert "apt install qemu-user-static" in str(failed.value)


def test_a_program_of_another_kind_is_no_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64-static").symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="does not tell its version"):
        find_qemu()


def test_without_apt_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"has no apt-get and no dpkg-deb") as failed:
        require_apt()
    assert "bring the folder emulation-aarch64-*" in str(failed.value)


def test_offline_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="--offline opens no connection") as failed:
        made(environment_at(tmp_path), tmp_path, offline=True)
    assert root_name(find_toolchain("emulation")) in str(failed.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt")
def test_without_packages_nothing_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "apt.conf"
    config.write_text(f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n')
    (tmp_path / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:1/debian nothing main\n")
    monkeypatch.setenv("APT_CONFIG", str(config))
    # No proxy of this machine's answers for that address.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "toolchains"
    with pytest.raises(ToolError, match="the packages of the emulated root cannot be fetched") as failed:
        made(environment_at(root), tmp_path)
    assert "127.0.0.1" in str(failed.value)
    assert f"the whole output is in {tmp_path / 'log'}" in str(failed.value)
    assert [path.name for path in root.iterdir()] == ["locks"]


def test_a_folder_without_a_record_is_no_root(tmp_path: Path) -> None:
    assert read_root(tmp_path) is None
    (tmp_path / "edgec-root.json").write_text("{}")
    assert read_root(tmp_path) is None


def test_names_for_people() -> None:
    assert cpu_title("cortex-a76") == "Cortex-A76"
    assert cpu_title("neoverse-n1") == "Neoverse-N1"


@emulated
def test_it_is_made_used_and_removed(toolchains_root: Path, tmp_path: Path) -> None:
    toolchain = find_toolchain("emulation")
    environment = install(toolchain, toolchains_root, offline=False, report=silent, log=tmp_path / "log")
    qemu = find_qemu()
    first = emulated_root(environment, qemu, offline=False, report=silent, log=tmp_path / "log")
    # What stands is used without apt, pip or a network.
    assert emulated_root(environment, NOWHERE, offline=True, report=silent, log=tmp_path / "log") == first
    assert (first.folder / "usr/lib/python3/dist-packages/xllamacpp").is_dir()
    assert not list(toolchains_root.glob(".partial-*"))
    own = tmp_path / "toolchains"
    for folder in (environment.folder, first.folder):
        shutil.copytree(folder, own / folder.name, symlinks=True)
    earlier = own / "emulation-aarch64-0123456789abcdef"
    earlier.mkdir()
    (standing,) = [s for s in inventory(own) if s.toolchain.name == "emulation"]
    assert standing.stale == (earlier,)
    assert remove(toolchain, own) > 100 << 20
    assert [path.name for path in own.iterdir()] == ["locks"]


def test_both_sides_have_the_llama_cpp_of_the_proof() -> None:
    assert find_toolchain("emulation").pinned["xllamacpp"] == version("xllamacpp")
