"""A toolkit that dies, hangs, or makes something else: a clear error, the log, and nothing half-written.

The programs are real processes in a real environment; only what runs in it is not rknn-toolkit2.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rknn_files import description, rknn_bytes

from edgec.errors import EdgecError, ProofError, ToolError
from edgec.events import Event, Note, silent
from edgec.formats.candidates import Demand
from edgec.formats.rknn import run
from edgec.formats.rknn.layout import plan_layout
from edgec.toolchain.environments import Environment, find_toolchain

GOOD = rknn_bytes(description(length=16, width=8))
ANSWER = "    return {'versions': {}}\n"
# What a route's cosines are when each is asked for: the float16 one is near enough.
BY_ROUTE = (
    "    near = 0.9999 if request['route']['name'] == 'fp16' else 0.5\n"
    "    return {'versions': {}, 'mean_cosine': near, 'min_cosine': near}\n"
)


def writes(data: bytes) -> str:
    """Code that writes both files."""
    return (
        f"    Path(request['out']).write_bytes({data!r})\n"
        "    Path(request['vectors']).write_bytes(b'vectors')\n"
        "    print('E RKNN: [00:00:00] Unkown op target: 0')\n"
    )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """This Python, under the name of the toolchain."""
    toolchain = find_toolchain("rknn")
    folder = tmp_path / "environments" / "rknn-0"
    folder.mkdir(parents=True)
    return Environment(toolchain, folder, Path(sys.executable), toolchain.lock_digest, {})


def compiled(
    environment: Environment,
    tmp_path: Path,
    code: str,
    *,
    scheme: str = "fp16",
    events: list[Event] | None = None,
    timeout_s: float = 60,
) -> run.Compiled:
    script = tmp_path / "script.py"
    script.write_text(f"import os, signal, time\nfrom pathlib import Path\ndef run(request, progress):\n{code}")
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    left = tmp_path / "out" / ".rknn-scratch"
    left.mkdir(parents=True)
    (left / "half").write_text("of a killed run")
    (tmp_path / "logs").mkdir()
    return run.compile_rknn(
        environment, tmp_path / "graph.onnx", run.EncoderInput(16, 0, "mean", 8),
        plan_layout(embeddings=100, others=100, layers=1, scheme=scheme), tmp_path / "out",
        demand=Demand(0.99, 0.97), texts=run.Texts([], [], [[1, 2]]), memory_mib=64,
        report=silent if events is None else events.append, logs=tmp_path / "logs", script=script, timeout_s=timeout_s,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("    os.kill(os.getpid(), signal.SIGKILL)\n", "was killed by SIGKILL"),
        ("    raise SystemExit('rknn-toolkit2: build answered -1')\n", "build answered -1"),
        ("    os._exit(0)\n", "ended without a result"),
        (ANSWER, "ended without a file model-fp16.rknn"),
        (writes(b"not a model") + ANSWER, "no whole RKNN model"),
        (writes(rknn_bytes(description(length=8, width=8))) + ANSWER, "takes input_ids [1, 8]"),
        (writes(rknn_bytes(description(length=16, width=4))) + ANSWER, "gives last_hidden_state [1, 16, 4]"),
        (writes(rknn_bytes(description(length=16, width=8, platform="rk3576"))) + ANSWER, "is for rk3576"),
        (writes(GOOD + bytes(9 << 20)) + ANSWER, "were planned"),
        (writes(GOOD) + "    return {}\n", "an answer of another form"),
        (f"    Path(request['out']).write_bytes({GOOD!r})\n{ANSWER}", "ended without a file simulated.npz"),
    ],
)
def test_a_compile_that_fails_leaves_nothing(
    environment: Environment, tmp_path: Path, code: str, expected: str
) -> None:
    with pytest.raises(ToolError) as caught:
        compiled(environment, tmp_path, code)
    (found,) = caught.value.diagnostics
    assert expected in f"{found.message} | {found.hint}"
    assert not list((tmp_path / "out").iterdir())


def test_a_toolkit_that_hangs_is_ended(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        compiled(environment, tmp_path, "    time.sleep(60)\n", timeout_s=1)
    (found,) = caught.value.diagnostics
    assert "rknn-fp16-fp16.log" in f"{found.message} | {found.hint}"
    assert not list((tmp_path / "out").iterdir())


def test_printed_errors_beside_a_whole_model_are_told(environment: Environment, tmp_path: Path) -> None:
    events: list[Event] = []
    made = compiled(environment, tmp_path, writes(GOOD) + ANSWER, events=events)
    assert made.printed_errors == 1
    assert any(isinstance(e, Note) and "printed 1 line of errors" in e.message for e in events)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model-fp16.rknn", "simulated.npz"]
    assert (tmp_path / "out" / "model-fp16.rknn").read_bytes() == GOOD


def test_auto_keeps_the_first_route_that_is_near_enough(environment: Environment, tmp_path: Path) -> None:
    made = compiled(environment, tmp_path, writes(GOOD) + BY_ROUTE, scheme="auto")
    assert [c.name for c in made.tried] == ["w8a8", "mixed", "fp16"]
    assert made.chosen is made.tried[-1]
    assert (tmp_path / "out" / "model-auto.rknn").exists()


def test_auto_goes_on_after_a_route_that_died(environment: Environment, tmp_path: Path) -> None:
    dies = "    if request['route']['name'] == 'w8a8':\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
    events: list[Event] = []
    made = compiled(environment, tmp_path, dies + writes(GOOD) + BY_ROUTE, scheme="auto", events=events)
    assert "SIGSEGV" in (made.tried[0].failed or "")
    (warned,) = [e.message for e in events if isinstance(e, Note) and e.level == "warning"]
    assert "the route `w8a8`" in warned
    assert "SIGSEGV" in warned
    assert made.chosen.name == "fp16"


@pytest.mark.parametrize(
    ("end", "timeout_s"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 60),
        ("os.kill(os.getpid(), signal.SIGTERM)", 60),
        ("os._exit(137)", 60),
        ("raise MemoryError", 60),
        ("time.sleep(60)", 1),
    ],
)
def test_what_ends_the_toolkit_from_outside_does_not_choose_the_route(
    environment: Environment, tmp_path: Path, end: str, timeout_s: float
) -> None:
    ends = f"    if request['route']['name'] == 'w8a8':\n        {end}\n"
    with pytest.raises(ToolError) as caught:
        compiled(environment, tmp_path, ends + writes(GOOD) + BY_ROUTE, scheme="auto", timeout_s=timeout_s)
    assert "rknn-auto-w8a8.log" in str(caught.value.diagnostics[0].hint)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("code", [writes(GOOD) + BY_ROUTE.replace("0.9999", "0.6"), "    raise ValueError('no')\n"])
def test_auto_without_a_good_route_is_a_failed_proof_with_all_numbers(
    environment: Environment, tmp_path: Path, code: str
) -> None:
    with pytest.raises(EdgecError) as caught:
        compiled(environment, tmp_path, code, scheme="auto")
    assert isinstance(caught.value, ProofError)
    (found,) = caught.value.diagnostics
    assert all(name in found.message for name in ("w8a8", "mixed", "fp16"))
    assert not list((tmp_path / "out").iterdir())
