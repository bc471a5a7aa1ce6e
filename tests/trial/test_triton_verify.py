"""`edgec verify --run triton`: what fails is said, with all that was checked; a kill leaves nothing behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from triton_case import ROOT, Shop, built_and_unpacked

pytestmark = pytest.mark.toolchain
MODEL = ROOT / "models" / "docs-llama"
# Whoever waits gives up at once: of eight clients at a time some are refused.
RECIPE = f"""\
schema: edgec/recipe/v1
name: impatient
version: 1.0.0
target: pi5-8gb
source: {{path: {MODEL}, licence: apache-2.0}}
context: 256
artifacts: [{{format: gguf, quantize: {{scheme: q8_0}}}}]
prove: {{held_out: {MODEL}/held_out.txt, windows: 4}}
package: {{triton: {{queue_timeout_ms: 1}}}}
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("impatient")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return built_and_unpacked(folder / "recipe.yaml", folder)


def shop_of(unpacked: Path, folder: Path, toolchains: Path) -> Shop:
    """The command line of who trusts the bundle's key."""
    shutil.copytree(unpacked.with_name("config"), folder / "config" / "edgec")
    return Shop(folder, toolchains)


def test_a_trial_that_fails_is_exit_4_with_all_its_checks(
    impatient: Path, toolchains_root: Path, tmp_path: Path
) -> None:
    code, last = shop_of(impatient, tmp_path, toolchains_root).run("verify", str(impatient), "--run", "triton")
    assert (code, last["event"], last["exit_code"]) == (4, "error", 4)
    (trial,) = last["trials"]
    passed = {check["name"]: check["passed"] for check in trial["checks"]}
    assert len(passed) == 10
    assert passed["models loaded"]
    assert not passed["streams at once"]
    assert len(last["diagnostics"]) == list(passed.values()).count(False)
    assert all("the server's log is /" in found["hint"] for found in last["diagnostics"])
    assert any("waited 0.001 s for a free slot in vain" in found["message"] for found in last["diagnostics"])


def test_a_kill_leaves_no_process_behind(quickstart: Path, toolchains_root: Path, tmp_path: Path) -> None:
    shop = shop_of(quickstart, tmp_path, toolchains_root)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = shop.command("verify", str(quickstart), "--run", "triton")
    variables = {**shop.variables, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as edgec:
        try:
            wait_until(lambda: any("triton_python_backend_stub" in line for line in command_lines(scratch)), 60)
        finally:
            edgec.send_signal(signal.SIGKILL)
    wait_until(lambda: not command_lines(scratch), 10)


def command_lines(folder: Path) -> list[str]:
    """The processes that name `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found


def wait_until(holds: Callable[[], bool], timeout_s: float) -> None:
    """Returns when it holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
