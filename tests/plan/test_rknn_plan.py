"""Plans for Rockchip's NPU: what is fixed, what it takes, what cannot be, each at its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from encoder_models import write_encoder

from edgec.documents.canonical import sha256_file
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.origin import open_source
from edgec.plan.rknn import RknnPlan, plan_rknn
from edgec.recipe.rknn import RknnArtifact

ROOT = Path(__file__).parents[2]
CALIBRATION = ROOT / "models" / "docs-llama" / "calibration.txt"
RECIPE = """\
schema: edgec/recipe/v1
name: encoder
version: 1.0.0
target: {target}
source: {{path: model}}
context: {context}
artifacts:
  - format: rknn
    quantize: {quantize}
"""
AUTO = "{scheme: auto, calibration: calibration.txt}"


def plan(
    folder: Path, *, quantize: str = AUTO, text: str | None = None, context: int = 64, target: str = "rk3588-8gb"
) -> RknnPlan:
    write_encoder(folder / "model", CALIBRATION.read_text().splitlines()[:200])
    (folder / "calibration.txt").write_text(CALIBRATION.read_text() if text is None else text)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(target=target, context=context, quantize=quantize), encoding="utf-8")
    loaded, found = load_checked(path, env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, RknnArtifact)
    source = open_source(loaded, offline=True, digest_file=sha256_file)
    return plan_rknn(loaded, found, source.header, artifact, 0)


def refusal(folder: Path, **changes: object) -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, **changes)  # type: ignore[arg-type]
    (found,) = caught.value.diagnostics
    return found


def test_it_says_what_is_fixed_and_sets_the_cpu_beside_the_npu(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert made.summary.fit.verdict == "fits"
    assert (made.summary.context, made.summary.is_exact) == (64, False)
    notes = " | ".join(made.summary.notes)
    for said in ("padded to 64 tokens", "not reproducible", "3 routes are tried", "llama.cpp (CPU, Cortex-A76 cores)"):
        assert said in notes


def test_sizes_follow_the_scheme(tmp_path: Path) -> None:
    with_text = {s: plan(tmp_path / s, quantize=AUTO.replace("auto", s)) for s in ("w8a8", "mixed", "auto")}
    fp16 = plan(tmp_path / "fp16", quantize="{scheme: fp16}")
    sizes = {name: made.summary.output_bytes for name, made in with_text.items()}
    assert sizes["w8a8"] < sizes["mixed"] == sizes["auto"] == fp16.summary.output_bytes
    assert fp16.calibration_lines == ()


@pytest.mark.parametrize("text", ["\n", "", "  \n"])
def test_a_calibration_text_of_one_empty_line_is_refused_at_its_line(tmp_path: Path, text: str) -> None:
    found = refusal(tmp_path, text=text)
    assert "calibration.txt` is empty" in found.message
    assert found.span is not None


def test_empty_lines_are_no_passages(tmp_path: Path) -> None:
    lines = [f"a passage of the calibration text, number {i}" for i in range(12)]
    assert plan(tmp_path, text="\n\n".join(lines)).calibration_lines == tuple(lines)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"context": 512}, "a context of 512 tokens is more than the model's 128"),
        ({"quantize": "{scheme: auto}"}, "`auto` runs the model on a text or on samples, and none is named"),
        ({"quantize": "{scheme: fp16, calibration: calibration.txt}"}, "a calibration has no use"),
        ({"target": "pi5-8gb"}, "has no runtime for `rknn`"),
        ({"text": "one line that is long enough to mean something\n"}, "has 1 different lines"),
    ],
)
def test_what_cannot_be_is_refused_at_its_line(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    found = refusal(tmp_path, **changes)
    assert expected in found.message
    assert found.span is not None


def test_four_bits_are_no_scheme_of_the_npu(tmp_path: Path) -> None:
    found = refusal(tmp_path, quantize="{scheme: w4a16, calibration: calibration.txt}")
    assert "w4a16" in found.message
    assert "`mixed`" in (found.hint or "")
