"""A toolchain that dies, is killed, or makes something else: a clear error, the log, and nothing half-written.

The programs are real processes in a real environment; only what runs in it is not Optimum.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from encoder_models import write_encoder

from edgec.errors import EdgecError, ProofError, ToolError
from edgec.events import silent
from edgec.formats.candidates import Demand
from edgec.formats.onnx import run
from edgec.formats.onnx.encoder import read_encoder
from edgec.formats.onnx.layout import plan_layout
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, find_toolchain

GOOD = (
    "    Path(request['out']).write_bytes(bytes(1000))\n"
    "    answer = {'inputs': ['input_ids', 'attention_mask'], 'outputs': ['last_hidden_state'], 'opset': 18,\n"
    "              'max_difference': 1e-6, 'versions': {}}\n"
)
# One candidate as the script answers it, in a file that is there.
CANDIDATE = (
    "    Path(request['scratch'], 'weights').mkdir()\n"
    "    Path(request['scratch'], 'weights', request['file']).write_bytes(bytes(1000))\n"
    "    return {'candidates': [{'name': 'weights', 'size_bytes': 1000}]}\n"
)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """This Python, under the name of the toolchain."""
    toolchain = find_toolchain("optimum")
    folder = tmp_path / "environments" / "optimum-0"
    folder.mkdir(parents=True)
    return Environment(toolchain, folder, Path(sys.executable), toolchain.lock_digest, {})


def script_of(tmp_path: Path, code: str) -> Path:
    script = tmp_path / "script.py"
    script.write_text(f"import os, signal\nfrom pathlib import Path\ndef run(request, progress):\n{code}")
    return script


def export(environment: Environment, tmp_path: Path, code: str) -> Path:
    """Exports with this code; returns the folder."""
    checkpoint = open_local(write_encoder(tmp_path / "model", ["some words to train a small vocabulary on"] * 4))
    encoder = read_encoder(checkpoint.header)
    out = tmp_path / "out"
    left = out / ".onnx-scratch"
    left.mkdir(parents=True)
    (left / "half").write_text("of a killed run")
    run.export_encoder(
        environment, checkpoint, encoder, plan_layout(encoder, "int8_fine"), out,
        report=silent, log=tmp_path / "onnx-export.log", script=script_of(tmp_path, code),
    )  # fmt: skip
    return out


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("    os.kill(os.getpid(), signal.SIGKILL)\n", ToolError, "was killed by SIGKILL"),
        ("    raise ValueError('no such model')\n", ToolError, "no such model"),
        ("    os._exit(0)\n", ToolError, "ended without a result"),
        ("    return {}\n", ToolError, "ended without a model file"),
        (GOOD + "    return {}\n", ToolError, "gave an answer of another form"),
        (GOOD + "    return answer | {'opset': 11}\n", ToolError, "has the opset 11, and 18 was asked for"),
        (GOOD + "    return answer | {'inputs': ['pixel_values']}\n", ToolError, "is not the graph of the encoder"),
        (GOOD + "    return answer | {'max_difference': 0.1}\n", ProofError, "differs from torch by 0.1"),
        (
            "    Path(request['out']).write_bytes(bytes(99999999))\n    return {}\n",
            ToolError,
            "made a file of 99999999 bytes",
        ),
    ],
)
def test_an_export_that_fails_leaves_nothing(
    environment: Environment, tmp_path: Path, code: str, kind: type[EdgecError], expected: str
) -> None:
    with pytest.raises(kind) as caught:
        export(environment, tmp_path, code)
    (found,) = caught.value.diagnostics
    assert expected in f"{found.message} | {found.hint}"
    assert str(tmp_path / "onnx-export.log") in f"{found.message} | {found.hint}"
    assert not list((tmp_path / "out").iterdir())


def test_an_export_that_is_whole_is_kept(environment: Environment, tmp_path: Path) -> None:
    out = export(environment, tmp_path, GOOD + "    return answer\n")
    assert [p.name for p in out.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("    os.kill(os.getpid(), signal.SIGKILL)\n", "was killed by SIGKILL"),
        ("    return {'candidates': []}\n", "other candidates than were asked for"),
        ("    return {'candidates': [{'name': 'weights', 'size_bytes': 1000}]}\n", "ended without a model file"),
    ],
)
def test_quantizing_that_fails_leaves_nothing(
    environment: Environment, tmp_path: Path, code: str, expected: str
) -> None:
    with pytest.raises(ToolError) as caught:
        quantize(environment, tmp_path, code)
    assert expected in caught.value.diagnostics[0].message
    assert not list((tmp_path / "out").iterdir())


def test_the_only_route_is_kept_without_a_comparison(environment: Environment, tmp_path: Path) -> None:
    quantize(environment, tmp_path, CANDIDATE)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model-int8_fine.onnx"]


def quantize(environment: Environment, tmp_path: Path, code: str) -> None:
    encoder = read_encoder(open_local(write_encoder(tmp_path / "model", ["some words"] * 4)).header)
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(b"graph")
    run.quantize_encoder(
        environment, graph, encoder, plan_layout(encoder, "int8_fine"), tmp_path / "out",
        demand=Demand(0.99, 0.97), ranges=[], judged=[], report=silent, log=tmp_path / "log",
        script=script_of(tmp_path, code),
    )  # fmt: skip
