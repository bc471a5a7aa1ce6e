"""Each declared toolchain, installed for real from its lock and used once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec.errors import ToolError
from edgec.events import silent
from edgec.toolchain.environments import all_toolchains, find_toolchain, install, installed, run_json
from edgec.toolchain.interpreter import find_interpreter
from edgec.toolchain.inventory import folder_bytes

HEAVY = {"edgellm", "transformers", "optimum", "modelopt", "rknn", "genai"}
# What needs a wheel of the user cannot be installed here.
NAMES = [
    pytest.param(t.name, marks=[pytest.mark.heavy(t.name)] if t.name in HEAVY else [])
    for t in all_toolchains()
    if t.user_wheel is None
]


def distribution(wheel: Path) -> str:
    """`name==version`, as a lock has it."""
    name, version = wheel.name.split("-")[:2]
    return f"{name.lower().replace('_', '-')}=={version}"


@pytest.mark.toolchain
@pytest.mark.parametrize("name", NAMES)
def test_it_installs_and_works(name: str, toolchains_root: Path, tmp_path: Path) -> None:
    toolchain = find_toolchain(name)
    try:
        find_interpreter(toolchain, os.environ)
    except ToolError as error:
        pytest.skip(error.diagnostics[0].message)
    environment = install(toolchain, toolchains_root, offline=False, report=silent, log=tmp_path / "log")
    assert installed(toolchain, toolchains_root) == environment
    # What a person is told to have free covers the environment and the wheels.
    wheels = [p for p in (toolchains_root / "wheels").iterdir() if distribution(p) in toolchain.lock.read_text()]
    wheels_mib = sum(p.stat().st_size for p in wheels) >> 20
    assert 1 < wheels_mib < (folder_bytes(environment.folder) >> 20) < toolchain.disk_mib - wheels_mib
    script = tmp_path / "script.py"
    script.write_text(
        "import importlib\n"
        "def run(request, progress):\n"
        "    for name in request['modules']:\n"
        "        importlib.import_module(name)\n"
        "    return {}\n"
    )
    request = {"modules": list(toolchain.smoke)}
    answer = run_json(environment, script, request, timeout_s=300, log=tmp_path / "script.log")
    assert 5 < answer["peak_mib"] < toolchain.memory_mib
