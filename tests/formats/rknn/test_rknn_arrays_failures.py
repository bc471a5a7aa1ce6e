"""A toolkit that fails on a model whose samples are arrays: a clear error, the log, and nothing half-written.

The programs are real processes in a real environment; only what runs in it is not rknn-toolkit2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rknn_files import description, rknn_bytes

from edgec.errors import EdgecError, ToolError
from edgec.events import silent
from edgec.formats.candidates import Demand
from edgec.formats.rknn import run
from edgec.formats.rknn.layout import plan_layout
from edgec.toolchain.environments import Environment, find_toolchain

GOOD = rknn_bytes(description(length=16, width=8))
SUMS: Mapping[str, Any] = {
    "name": "scores", "samples": 4, "other_shape": 0, "not_finite": 0, "cosines": [0.999] * 4, "errors": [0.01] * 4,
    "rows": 4, "same_first": 4, "elements": 0, "same_elements": 0, "channels": {},
    "error_share": 0.001,
}  # fmt: skip
# Channels of boxes beside those of scores, which are lost.
LOST = {"peak": [60.0, 0.9], "dot": [100.0, 0.1], "want": [100.0, 1.0], "got": [100.0, 1.0]}


def writes(*sums: Mapping[str, Any]) -> str:
    """Code that writes both files, and answers these sums for each route in turn, the last for all others."""
    return (
        f"    Path(request['out']).write_bytes({GOOD!r})\n"
        "    Path(request['outputs']).write_bytes(b'outputs')\n"
        f"    answers = {[dict(one) for one in sums]!r}\n"
        "    number = min(['w8a8', 'mixed', 'fp16'].index(request['route']['name']), len(answers) - 1)\n"
        "    return {'versions': {}, 'sums': [answers[number]]}\n"
    )


def compiled(tmp_path: Path, code: str, *, scheme: str = "w8a8", timeout_s: float = 60) -> run.Compiled:
    toolchain = find_toolchain("rknn")
    folder = tmp_path / "environments" / "rknn-0"
    folder.mkdir(parents=True)
    environment = Environment(toolchain, folder, Path(sys.executable), toolchain.lock_digest, {})
    script = tmp_path / "script.py"
    script.write_text(f"import os, signal, time\nfrom pathlib import Path\ndef run(request, progress):\n{code}")
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    left = tmp_path / "out" / ".rknn-scratch"
    left.mkdir(parents=True)
    (left / "half").write_text("of a killed run")
    (tmp_path / "logs").mkdir()
    inputs = {"input_ids": (1, 16), "attention_mask": (1, 16)}
    job = run.RknnJob(script=script, request={}, inputs=inputs, outputs=((1, 16, 8),), results="outputs",
                      otherwise="onnx", judged_on="the calibration samples")  # fmt: skip
    return run.compile_by_routes(
        environment, tmp_path / "graph.onnx", job, plan_layout(embeddings=0, others=200, layers=1, scheme=scheme),
        tmp_path / "out", demand=Demand(0.99, 0.97, first=0.95), memory_mib=64, report=silent, logs=tmp_path / "logs",
        timeout_s=timeout_s,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"    Path(request['out']).write_bytes({GOOD!r})\n    os.kill(os.getpid(), signal.SIGSEGV)\n", "SIGSEGV"),
        (f"    Path(request['out']).write_bytes({GOOD!r})\n    raise SystemExit('build answered -1')\n", "answered -1"),
        (f"    Path(request['out']).write_bytes({GOOD!r})\n    os._exit(3)\n", "exited with 3"),
        (writes({**SUMS, "cosines": [], "errors": [], "not_finite": 4}), "`scores` is not finite for 4 of 4 samples"),
        (writes({**SUMS, "other_shape": 1}), "`scores` has another shape for 1 of 4 samples"),
        (writes({"name": "scores"}), "an answer of another form"),
    ],
)
def test_a_compile_that_fails_leaves_nothing(tmp_path: Path, code: str, expected: str) -> None:
    with pytest.raises(ToolError) as caught:
        compiled(tmp_path, code)
    (found,) = caught.value.diagnostics
    assert expected in f"{found.message} | {found.hint}"
    assert "`scheme: auto`, which goes on when a route fails" in str(found.hint)
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_toolkit_says_nothing_of_the_scheme(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        compiled(tmp_path, "    os.kill(os.getpid(), signal.SIGKILL)\n")
    (found,) = caught.value.diagnostics
    assert "was killed by SIGKILL" in found.message
    assert "scheme" not in str(found.hint)
    assert not list((tmp_path / "out").iterdir())


def test_a_toolkit_that_hangs_is_ended(tmp_path: Path) -> None:
    code = f"    Path(request['out']).write_bytes({GOOD!r})\n    time.sleep(60)\n"
    with pytest.raises(ToolError) as caught:
        compiled(tmp_path, code, timeout_s=1)
    assert "rknn-w8a8-w8a8.log" in str(caught.value.diagnostics[0])
    assert not list((tmp_path / "out").iterdir())


def test_scores_that_are_lost_beside_boxes_are_seen(tmp_path: Path) -> None:
    made = compiled(tmp_path, writes({**SUMS, "channels": LOST}, SUMS), scheme="auto")
    assert [c.name for c in made.tried] == ["w8a8", "mixed"]
    assert made.tried[0].min_cosine == pytest.approx(0.1)
    assert made.chosen.name == "mixed"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model-auto.rknn", "simulated.npz"]


def test_first_choices_that_differ_are_seen(tmp_path: Path) -> None:
    with pytest.raises(EdgecError) as caught:
        compiled(tmp_path, writes({**SUMS, "same_first": 3}), scheme="auto")
    assert "top-1 agreement 0.750" in caught.value.diagnostics[0].message
    assert "on the calibration samples: w8a8" in caught.value.diagnostics[0].message
    assert not list((tmp_path / "out").iterdir())
