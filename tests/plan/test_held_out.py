"""A held-out text that is too short is refused at its line before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from encoder_models import write_encoder, write_reranker

from edgec import api
from edgec.errors import Diagnostic, InputError

MODELS = Path(__file__).parents[2] / "models" / "docs-llama"
LINES = (MODELS / "calibration.txt").read_text(encoding="utf-8").splitlines()
RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: {target}
source: {{path: {model}, licence: apache-2.0}}
context: 128
artifacts:
  - format: {format}
    quantize: {{scheme: {scheme}}}
prove:
  held_out: held_out.txt
"""


def refusal(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, **values: str) -> Diagnostic:
    """The only mistake that the plan finds."""
    monkeypatch.setenv("EDGEC_CACHE", str(folder / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    (folder / "held_out.txt").write_text(text)
    (folder / "recipe.yaml").write_text(RECIPE.format(**values))
    with pytest.raises(InputError) as caught:
        api.plan(folder / "recipe.yaml", workshop=api.Workshop(offline=True))
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert found.span.source_line == "  held_out: held_out.txt"
    return found


@pytest.mark.parametrize(
    ("target", "format_", "scheme"),
    [("pi5-8gb", "onnx", "int8_fine"), ("rk3588-8gb", "rknn", "fp16"), ("pi5-8gb", "gguf", "q8_0")],
)
def test_an_encoder_needs_four_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, format_: str, scheme: str
) -> None:
    model = str(write_encoder(tmp_path / "model", LINES[:200]))
    text = "one passage of some words\nanother passage of words\nshort\nanother passage of words\n"
    found = refusal(tmp_path, monkeypatch, text, target=target, model=model, format=format_, scheme=scheme)
    assert "has 2 different lines of at least 20 characters; the proof of an encoder needs 4" in found.message


def test_lines_that_were_calibrated_on_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(write_reranker(tmp_path / "model", LINES[:200]))
    lines = [f"a passage that is calibrated on, number {i}" for i in range(8)]
    (tmp_path / "calibration.txt").write_text("\n".join(lines))
    text = "\n".join([*lines, *(f"a passage that is not, number {i}" for i in range(3))])
    scheme = "auto, calibration: calibration.txt"
    found = refusal(tmp_path, monkeypatch, text, target="pi5-8gb", model=model, format="onnx", scheme=scheme)
    assert "has 3 different lines" in found.message
    assert "8 lines are left out, since the model is calibrated on them" in found.message


@pytest.mark.parametrize(("format_", "scheme"), [("gguf", "q4_0"), ("onnx", "int4")])
def test_a_decoder_needs_one_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, scheme: str) -> None:
    values = {"target": "pi5-8gb", "model": str(MODELS), "format": format_, "scheme": scheme}
    found = refusal(tmp_path, monkeypatch, "a text of a few words. " * 4, **values)
    assert "one window of the proof needs 128" in found.message
    assert "prove.window_tokens" in (found.hint or "")
