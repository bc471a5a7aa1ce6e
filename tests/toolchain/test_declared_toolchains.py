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

NAMES = [t.name for t in all_toolchains()]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are installed; $EDGEC_TEST_TOOLCHAINS keeps them between runs."""
    kept = os.environ.get("EDGEC_TEST_TOOLCHAINS")
    return Path(kept) if kept else tmp_path_factory.mktemp("toolchains")


@pytest.mark.toolchain
@pytest.mark.parametrize("name", NAMES)
def test_it_installs_and_works(name: str, root: Path, tmp_path: Path) -> None:
    toolchain = find_toolchain(name)
    try:
        find_interpreter(toolchain, os.environ)
    except ToolError as error:
        pytest.skip(error.diagnostics[0].message)
    environment = install(toolchain, root, offline=False, report=silent, log=tmp_path / "log")
    assert installed(toolchain, root) == environment
    # What a person is told to have free covers the environment and the wheels.
    wheels = folder_bytes(root / "wheels") if (root / "wheels").is_dir() else 0
    assert folder_bytes(environment.folder) >> 20 < toolchain.disk_mib
    assert wheels > 0
    script = tmp_path / "script.py"
    script.write_text(
        "import importlib\n"
        "def run(request, progress):\n"
        "    for name in request['modules']:\n"
        "        importlib.import_module(name)\n"
        "    peak = next(l for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "    return {'peak_mib': int(peak.split()[1]) >> 10}\n"
    )
    request = {"modules": list(toolchain.smoke)}
    answer = run_json(environment, script, request, timeout_s=300, log=tmp_path / "script.log")
    assert 5 < answer["peak_mib"] < toolchain.memory_mib
