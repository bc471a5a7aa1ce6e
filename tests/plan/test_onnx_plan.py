"""Plans of ONNX encoders: bad input stands at a line of the recipe, and the fit is that of the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from encoder_models import write_encoder

from edgec.documents.canonical import sha256_file
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.encoder import runtime_of
from edgec.plan.onnx import OnnxPlan, plan_onnx
from edgec.plan.origin import open_source
from edgec.recipe.onnx import OnnxArtifact
from edgec.target.load import load_target

ROOT = Path(__file__).parents[2]
CALIBRATION = ROOT / "models" / "docs-llama" / "calibration.txt"
RECIPE = """\
schema: edgec/recipe/v1
name: encoder
version: 1.0.0
target: pi5-8gb
source: {path: model}
artifacts:
  - format: onnx
    quantize:
      scheme: auto
      calibration: calibration.txt
"""


def plan(folder: Path, text: str | None = None, more: str = "") -> OnnxPlan:
    """The plan of a small encoder with this calibration text."""
    write_encoder(folder / "model", CALIBRATION.read_text().splitlines()[:200])
    (folder / "calibration.txt").write_text(CALIBRATION.read_text() if text is None else text)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE + more, encoding="utf-8")
    loaded, target = load_checked(path, env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, OnnxArtifact)
    source = open_source(loaded, offline=True, digest_file=sha256_file)
    return plan_onnx(loaded, target, source.header, artifact, 0)


def refusal(folder: Path, text: str | None = None, more: str = "") -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, text, more)
    (found,) = caught.value.diagnostics
    return found


def test_it_fits_and_says_what_is_tried(tmp_path: Path) -> None:
    made = plan(tmp_path, more="context: 64\n")
    assert made.summary.fit.verdict == "fits"
    assert made.summary.files == ("model-auto.onnx",)
    assert made.summary.context == 64
    assert any("12 routes are tried" in note for note in made.summary.notes)
    assert len(made.calibration_lines) == 64
    assert made.facts.kind == "encoder"


def test_empty_lines_are_no_passages(tmp_path: Path) -> None:
    lines = [f"a passage of the calibration text, number {i}" for i in range(12)]
    made = plan(tmp_path, "\n\n".join([*lines, "", "  ", "short"]) + "\n")
    assert made.calibration_lines == tuple(lines)


@pytest.mark.parametrize("text", ["\n", "", "   \n"])
def test_a_text_of_one_empty_line_is_refused_at_its_line(tmp_path: Path, text: str) -> None:
    found = refusal(tmp_path, text)
    assert "calibration.txt` is empty" in found.message
    assert found.span is not None
    assert found.span.source_line == "      calibration: calibration.txt"


def test_a_text_that_is_not_utf8_is_refused_with_the_place_of_the_byte(tmp_path: Path) -> None:
    plan(tmp_path)
    lines = [b"a passage of the calibration text"] * 20
    (tmp_path / "calibration.txt").write_bytes(b"\n".join([*lines, "ein Café am Fluß".encode("latin-1")]))
    with pytest.raises(InputError) as caught:
        load_checked(tmp_path / "recipe.yaml", env={})
    (found,) = caught.value.diagnostics
    assert found.message.endswith("is not UTF-8: byte 0xe9 in its line 21, column 8")
    assert found.span is not None
    assert found.span.source_line == "      calibration: calibration.txt"


def test_a_text_of_short_lines_is_refused_at_its_line(tmp_path: Path) -> None:
    found = refusal(tmp_path, "".join(f"short line {i}\n" for i in range(100)))
    assert "has 0 different lines of at least 20 characters" in found.message
    assert "the longest has 13" in found.message


def test_too_few_lines_are_refused_at_the_recipes_line(tmp_path: Path) -> None:
    found = refusal(tmp_path, "one line that is long enough to mean something\n\nshort\n")
    assert "has 1 different lines of at least 20 characters" in found.message
    assert found.span is not None
    assert found.span.source_line == "      calibration: calibration.txt"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("context: 512\n", "a context of 512 tokens is more than the model's 128"),
        ("prove: {max_kl: 0.1}\n", "`prove.max_kl` means nothing for this model"),
        ("prove: {max_score_error: 0.1}\n", "`prove.max_score_error` means nothing"),
    ],
)
def test_what_no_encoder_has_is_refused_at_its_line(tmp_path: Path, more: str, expected: str) -> None:
    found = refusal(tmp_path, more=more)
    assert expected in found.message
    assert found.span is not None
    assert found.span.source_line == more.rstrip()


def test_another_model_is_refused_at_its_file(tmp_path: Path) -> None:
    plan(tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2LMHeadModel"]}))
    loaded, target = load_checked(tmp_path / "recipe.yaml", env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, OnnxArtifact)
    source = open_source(loaded, offline=True, digest_file=sha256_file)
    with pytest.raises(InputError, match="GPT2LMHeadModel"):
        plan_onnx(loaded, target, source.header, artifact, 0)


def test_a_kind_of_model_that_no_runtime_of_the_target_runs_is_refused(tmp_path: Path) -> None:
    made = plan(tmp_path)
    target = load_target("pi5-8gb", folder=tmp_path)
    decoders = {name: r for name, r in target.runtimes.items() if "decoder" in r.kinds}
    assert decoders
    with pytest.raises(InputError) as caught:
        runtime_of(target.model_copy(update={"runtimes": decoders}), made.settings)
    assert caught.value.diagnostics[0].message == "`pi5-8gb` runs no model of this kind as `onnx` in `auto`"
    assert caught.value.diagnostics[0].hint


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    plan(tmp_path)
    model = tmp_path / "model"
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    (model / "vocab.txt").write_text("\n".join(tokens) + "\n")
    loaded, target = load_checked(tmp_path / "recipe.yaml", env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, OnnxArtifact)
    plan_onnx(loaded, target, open_source(loaded, offline=True, digest_file=sha256_file).header, artifact, 0)
    (model / "vocab.txt").write_text("\n".join([*tokens[:10], *sorted(tokens[10:])]) + "\n")
    with pytest.raises(InputError, match="one of the two files is of another model"):
        plan_onnx(loaded, target, open_source(loaded, offline=True, digest_file=sha256_file).header, artifact, 0)
