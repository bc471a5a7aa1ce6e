"""A toolkit that dies, hangs, or writes what it must not: a clear error, the log, and nothing half-written.

The programs are real processes; what runs in them is not Rockchip's toolkit, and compiles nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgec.errors import ToolError
from edgec.events import silent
from edgec.formats.rkllm import run
from edgec.formats.rkllm.layout import RkllmLayout
from edgec.toolchain.environments import Environment, find_toolchain

LAYOUT = RkllmLayout("w8a8", context=64, least_bytes=100, size_bytes=1000, held_bytes=110)
ANSWER = "    return {'versions': {'rkllm-toolkit': '1.3.0'}}\n"
LOGITS = "    Path(request['logits']).write_bytes(b'logits')\n"


def writes(size: int) -> str:
    """Code that writes a file of this size."""
    return f"    Path(request['out']).write_bytes(bytes({size}))\n"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """This Python, under the name of the toolchain."""
    toolchain = find_toolchain("rkllm")
    folder = tmp_path / "environments" / "rkllm-0"
    folder.mkdir(parents=True)
    return Environment(toolchain, folder, Path(sys.executable), toolchain.lock_digest, {})


def compiled(environment: Environment, tmp_path: Path, code: str, *, timeout_s: float = 60) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, time\nfrom pathlib import Path\n\ndef run(request, progress):\n" + code, encoding="utf-8"
    )
    run.compile_rkllm(
        environment, tmp_path, LAYOUT, tmp_path / "out",
        dataset=[{"input": "Grüße", "target": "你好"}], windows=run.Windows([[1, 2, 3]], 1, 5), npu_cores=3,
        memory_mib=16, report=silent, log=tmp_path / "logs" / "rkllm.log", script=script, timeout_s=timeout_s,
    )  # fmt: skip


def test_what_was_planned_is_kept_and_the_dataset_is_what_the_toolkit_reads(
    environment: Environment, tmp_path: Path
) -> None:
    check = (
        "    import json\n"
        "    rows = json.loads(Path(request['dataset']).read_bytes().decode('ascii'))\n"
        "    assert rows == [{'input': 'Grüße', 'target': '你好'}], rows\n"
        "    assert request['max_context'] == 64 and request['platform'] == 'rk3588'\n"
    )
    compiled(environment, tmp_path, check + writes(500) + LOGITS + ANSWER)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model-w8a8.rkllm", "simulated.npy"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("    os.kill(os.getpid(), signal.SIGSEGV)\n", "SIGSEGV"),
        ("    os.kill(os.getpid(), signal.SIGKILL)\n", "killed"),
        ("    time.sleep(60)\n", "did not end"),
        ("    raise SystemExit('RKLLM: build answered -1')\n", "RKLLM: build answered -1"),
        (LOGITS + ANSWER, "ended without a file model-w8a8.rkllm"),
        (writes(500) + ANSWER, "the simulation's logits ended without a file simulated.npy"),
        (writes(0) + LOGITS + ANSWER, "made a file of 0 bytes"),
        (writes(50) + LOGITS + ANSWER, "wrote 50 bytes, and the weights alone take 100 in 8 bits"),
        (writes(5000) + LOGITS + ANSWER, "made a file of 5000 bytes, and at most 1000 were planned"),
        (writes(500) + LOGITS + "    return {}\n", "does not say what it ran on"),
        (writes(500) + LOGITS + "    os._exit(0)\n", "ended without a result"),
    ],
)
def test_a_toolkit_that_fails_is_told_with_its_log_and_leaves_nothing(
    environment: Environment, tmp_path: Path, code: str, expected: str
) -> None:
    with pytest.raises(ToolError) as caught:
        compiled(environment, tmp_path, code, timeout_s=3 if "sleep" in code else 60)
    (found,) = caught.value.diagnostics
    assert expected in found.message
    assert "rkllm.log" in (found.hint or "")
    assert not list((tmp_path / "out").iterdir())
