"""Plans for RKLLM: what needs the user's toolkit, what it takes, what cannot be, each at its line.

The wheels are wheels in form only: nothing here compiles.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgec.documents.canonical import sha256_file
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.graph import ActionGraph
from edgec.plan.keys import made_with
from edgec.plan.origin import open_source
from edgec.plan.rkllm import RkllmPlan, plan_rkllm
from edgec.plan.rkllm_actions import add_rkllm
from edgec.recipe.rkllm import RkllmArtifact
from edgec.store.actions import ActionStore
from edgec.toolchain.definition import this_platform

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: {target}
source: {{path: {model}}}
context: {context}
artifacts:
  - format: rkllm
    quantize: {quantize}
"""
W8A8 = f"{{scheme: w8a8, calibration: {MODEL}/calibration.txt}}"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the variable names: METADATA and tags, and no toolkit."""
    tag = f"cp311-cp311-{this_platform().replace('-', '_')}"
    path = tmp_path / f"rkllm_toolkit-1.3.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("rkllm_toolkit-1.3.0.dist-info/METADATA", "Name: rkllm-toolkit\nVersion: 1.3.0\n")
        made.writestr("rkllm_toolkit-1.3.0.dist-info/WHEEL", f"Tag: {tag}\n")
    monkeypatch.setenv("EDGEC_RKLLM_WHEEL", str(path))
    return path


def plan(folder: Path, *, quantize: str = W8A8, context: int = 256, target: str = "rk3588-8gb") -> RkllmPlan:
    return _planned(folder, quantize, context, target)[0]


def _planned(folder: Path, quantize: str, context: int, target: str) -> tuple[RkllmPlan, ActionGraph]:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(target=target, model=MODEL, context=context, quantize=quantize), encoding="utf-8")
    loaded, found = load_checked(path, env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, RkllmArtifact)
    source = open_source(loaded, offline=True, digest_file=sha256_file)
    graph = ActionGraph(loaded, source, ActionStore(folder / "store"), bundle_stands=False)
    return plan_rkllm(loaded, found, source.header, artifact, 0), graph


def refusal(folder: Path, **changes: object) -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, **changes)  # type: ignore[arg-type]
    (found,) = caught.value.diagnostics
    return found


@pytest.mark.usefixtures("wheel")
def test_it_says_that_it_was_never_run_and_sets_the_cpu_beside_the_npu(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert (made.summary.fit.verdict, made.summary.context, made.npu_cores) == ("fits", 256, 3)
    assert made.layout.least_bytes < made.layout.held_bytes < made.layout.size_bytes
    (speed,) = made.summary.speeds
    notes = " | ".join(made.summary.notes)
    for said in ("never run with it", "not verified on hardware", "q4_0 at", "q4_k_m at", f"{speed.low_tok_s:.1f} to"):
        assert said in notes


def test_the_wheel_is_part_of_the_key_and_of_the_provenance(tmp_path: Path, wheel: Path) -> None:
    keys = []
    for text in (b"", b"another"):
        with wheel.open("ab") as file:
            file.write(text)
        made, graph = _planned(tmp_path, W8A8, 256, "rk3588-8gb")
        keys.append(add_rkllm(graph, made))
        tools = made_with(graph.actions)
        assert tools["rkllm-toolkit wheel"] == sha256_file(wheel)
        assert (tools["rkllm-toolkit"], tools["torch"]) == ("1.3.0", "2.13.0")
    assert keys[0] != keys[1]


def test_without_the_toolkit_it_is_refused_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEC_RKLLM_WHEEL", raising=False)
    found = refusal(tmp_path)
    assert "EDGEC_RKLLM_WHEEL is not set" in found.message
    assert found.span is not None
    assert found.span.line == 8


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"context": 100}, "is no multiple of 32", "96 or 128"),
        ({"context": 16}, "is no multiple of 32", "set context to 32"),
        ({"context": 1_000_000}, "more than", "or less"),
        ({"quantize": W8A8.replace("w8a8", "w8a8_g512")}, "outputs are a multiple of 512", "use `w8a8`"),
        ({"quantize": "{scheme: w8a8}"}, "runs the model on a text", "add `calibration:`"),
        ({"target": "pi5-8gb"}, "has no runtime for `rkllm`", "gguf"),
    ],
)
def test_what_cannot_be_is_refused_at_its_line(
    tmp_path: Path, changes: dict[str, object], message: str, hint: str
) -> None:
    found = refusal(tmp_path, **changes)
    assert message in found.message
    assert hint in (found.hint or "")
    assert found.span is not None


@pytest.mark.parametrize("scheme", ["w4a16", "w4a16_g32", "w4a16_g64", "w4a16_g128"])
def test_four_bits_are_refused_with_what_to_use_and_how_fast_that_is(tmp_path: Path, scheme: str) -> None:
    found = refusal(tmp_path, quantize=f"{{scheme: {scheme}}}")
    assert found.span is not None
    assert found.span.line == 9
    assert "raises an error for w4a16" in found.message
    hint = found.hint or ""
    assert "`format: gguf` with `q4_0` or `q4_k_m` on the CPU" in hint
    # Both speeds, for a model of a billion weights: see targets/rk3588-8gb.yaml.
    assert "at 23.1 to 39.1 or 21.8 to 36.3 tokens/s" in hint
    assert "on the NPU at 21.9 to 25.4" in hint
