"""The toolchains that are declared: their documents load, and their locks pin by hash what the documents ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgec.errors import InputError
from edgec.toolchain.definition import all_toolchains, find_toolchain, load_toolchain, toolchains_folder
from edgec.toolchain.lockfile import pins

NAMES = [t.name for t in all_toolchains()]
DOCUMENT = """
schema: edgec/toolchain/v1
name: some
title: some tool
python: ">=3.11,<3.13"
platforms: [linux-x86_64]
requirements: [tiny==1.0]
smoke: [tiny]
disk_mib: 10
memory_mib: 20
"""


def test_the_declared_toolchains_are_found_by_name() -> None:
    assert {"dify", "dify-next", "triton"} <= set(NAMES)
    assert sorted(NAMES) == NAMES
    assert [find_toolchain(name).name for name in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_pins_by_hash_what_its_document_asks_for(name: str) -> None:
    toolchain = find_toolchain(name)
    text = toolchain.lock.read_text()
    entries = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    assert [
        e for e in entries if not re.match(r"\S+==\S+.*(\\\n\s+--hash=sha256:[0-9a-f]{64}\s*)+$", e, re.DOTALL)
    ] == []
    unhashed = (f"torch=={toolchain.torch}", *toolchain.beside_torch)
    assert len(entries) == len([p for p in pins(toolchain) if p not in unhashed])
    locked = {re.split("==", p)[0]: p for p in pins(toolchain)}
    document = (toolchains_folder() / f"{name}.yaml").read_text()
    for wanted, version in re.findall(r"([A-Za-z][\w-]*)==([\w.]+)", document):
        assert locked[wanted.lower().replace("_", "-")].split(" ")[0].endswith(f"=={version}")
    assert ("torch==" in text) == (toolchain.torch is not None)
    assert toolchain.torch is None or f"torch=={toolchain.torch}\n" in text


def test_a_name_that_is_wrong_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown toolchain `trition`") as failed:
        find_toolchain("trition")
    assert (failed.value.diagnostics[0].hint or "").startswith("did you mean `triton`? Toolchains: `dify`, ")


def test_a_document_says_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(DOCUMENT)
    (tmp_path / "some.lock").write_text(
        "tiny==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n"
    )
    toolchain = load_toolchain(tmp_path / "some.yaml")
    assert (toolchain.python, list(toolchain.python_minors)) == (">=3.11,<3.13", [11, 12])
    assert (toolchain.disk_mib, toolchain.memory_mib, toolchain.torch) == (10, 20, None)
    assert pins(toolchain) == ["tiny==1.0 ; sys_platform == 'linux'"]
    (tmp_path / "some.yaml").write_text(f"{DOCUMENT}torch: 2.13.0\n")
    assert pins(load_toolchain(tmp_path / "some.yaml"))[0] == "torch==2.13.0"


def test_a_document_without_its_lock_or_with_a_mistake_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(DOCUMENT)
    with pytest.raises(InputError, match="the lock file is missing"):
        load_toolchain(tmp_path / "some.yaml")
    (tmp_path / "some.yaml").write_text(DOCUMENT.replace(">=3.11,<3.13", "3.11"))
    with pytest.raises(InputError, match=r"`python` has the wrong form: `3\.11`"):
        load_toolchain(tmp_path / "some.yaml")
