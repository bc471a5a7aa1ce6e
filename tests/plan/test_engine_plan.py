"""Plans of engines for Jetson Orin, on the headers of the models that the recipes name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from orin_models import LLAMA3_8B, LLAMA32_1B, header_of

from edgec.errors import InputError
from edgec.plan.check import load_checked
from edgec.plan.engine import plan_engine
from edgec.plan.engine_model import EnginePlan

ROOT = Path(__file__).parents[2]
CALIBRATION = ROOT / "models" / "docs-llama" / "calibration.txt"
RECIPE = """\
schema: edgec/recipe/v1
name: model
version: 1.0.0
target: {target}
source: {{path: {model}}}
{top}
artifacts:
  - {artifact}
"""


def plan(
    folder: Path, artifact: str, config: dict[str, Any] = LLAMA3_8B, target: str = "orin-nx-16gb", top: str = ""
) -> EnginePlan:
    """The plan of one artifact; `source:` of the recipe is any checkpoint, the header is that of `config`."""
    path = folder / "recipe.yaml"
    model = ROOT / "models" / "docs-llama"
    path.write_text(RECIPE.format(target=target, model=model, top=top, artifact=artifact), encoding="utf-8")
    loaded, profile = load_checked(path, env={})
    made = loaded.recipe.artifacts[0]
    assert made.format != "gguf"
    return plan_engine(loaded, profile, header_of(config), made, 0)


def edgellm(scheme: str, more: str = "") -> str:
    """An Edge-LLM artifact in the recipe."""
    calibration = f", calibration: {CALIBRATION}" if scheme in ("int4_awq", "int4_gptq", "int8_sq") else ""
    return f"{{format: edgellm, quantize: {{scheme: {scheme}{calibration}{more}}}}}"


@pytest.mark.parametrize(
    ("scheme", "target", "verdict"),
    [
        ("int4_awq", "orin-nx-16gb", "fits"),
        ("int8_sq", "orin-nx-16gb", "fits"),
        ("fp16", "orin-nx-16gb", "no"),
        ("int4_awq", "orin-nano-8gb", "no"),
        ("fp16", "agx-orin-64gb", "fits"),
    ],
)
def test_8b_fits_where_its_weights_do(scheme: str, target: str, verdict: str, tmp_path: Path) -> None:
    made = plan(tmp_path, edgellm(scheme), target=target)
    assert made.summary.fit.verdict == verdict, made.summary.fit
    assert (made.summary.fit.advice is None) == (verdict == "fits")


def test_1b_fits_8_gb(tmp_path: Path) -> None:
    made = plan(tmp_path, edgellm("int8_sq"), LLAMA32_1B, "orin-nano-8gb", "context: 2048")
    assert made.summary.fit.verdict == "fits"
    # 0.97 GB of codes, and the tied embedding twice, in float16: as a file, and in the engine as the output layer.
    assert 1900 < made.backend.engine_bytes / 2**20 < 1960


def test_a_misfit_names_the_scheme_that_fits(tmp_path: Path) -> None:
    assert "`scheme: int8" in (plan(tmp_path, edgellm("fp16")).summary.fit.advice or "")


def test_speed_is_a_range_with_its_provenance(tmp_path: Path) -> None:
    (speed,) = plan(tmp_path, edgellm("int4_awq")).summary.speeds
    # About 4.8 GB are read for a token, at 70 to 85 % of 102.4 GB/s.
    assert 10 < speed.low_tok_s < speed.high_tok_s < 25
    assert "MLC" in speed.provenance
    assert "jetson_clocks" in (speed.requires or "")


def test_the_quantizer_is_planned_in_bounded_memory(tmp_path: Path) -> None:
    made = plan(tmp_path, edgellm("int4_awq"))
    assert made.quantized is not None
    layer_mib = (2 * 4096 * 5120 + 3 * 4096 * 14336) * 4 / 2**20
    assert made.quantized.layout.memory_mib < layer_mib + 1024
    assert 5e9 < made.quantized.layout.size_bytes < 6.5e9


def test_batch_and_lengths_are_those_of_the_recipe(tmp_path: Path) -> None:
    artifact = "{format: trtllm, quantize: {scheme: int8_wo}, engine: {max_input_tokens: 512, max_output_tokens: 256}}"
    made = plan(tmp_path, artifact, top="context: 768\nbatch: 8")
    command = " ".join(made.finalize.build.command)
    assert "--max_batch_size 8 --max_input_len 512 --max_seq_len 768" in command
    assert made.finalize.backend.version == "0.12.0"
    assert made.finalize.requires.jetpack == "6.1"
    assert made.summary.fit.verdict == "fits"


@pytest.mark.parametrize("artifact", [edgellm("int4_rtn"), "{format: trtllm, quantize: {scheme: int8_wo}}"])
def test_every_plan_of_an_engine_says_that_no_engine_was_built(artifact: str, tmp_path: Path) -> None:
    notes = plan(tmp_path, artifact, top="context: 512").summary.notes
    assert [note for note in notes if note.startswith("engine build not verified on hardware")] == [notes[0]]


@pytest.mark.parametrize(
    ("artifact", "top", "said"),
    [
        (edgellm("int4_rtn"), "context: 9000", "a context of 9000 tokens is more than the model's 8192"),
        ("{format: edgellm, quantize: {scheme: int4_awq}}", "", "`int4_awq` runs the model on a text"),
        (edgellm("int4_rtn", ", group_size: 64"), "", "64"),
        (edgellm("int4_rtn", ", group_size: 48"), "", "group size of 48"),
        (
            "{format: edgellm, quantize: {scheme: fp16}, engine: {max_input_tokens: 300, max_output_tokens: 300}}",
            "context: 512",
            "300 tokens of prompt and 300 of answer do not fit a context of 512",
        ),
        ("{format: trtllm, version: 1.2.1, quantize: {scheme: fp16}}", "", "does not run on JetPack 6.1"),
        ("{format: trtllm, quantize: {scheme: fp16, kv_cache: int8}}", "", "INT8 KV cache"),
    ],
)
def test_what_cannot_be_is_refused_at_its_line(artifact: str, top: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan(tmp_path, artifact, top=top)
    assert said in str(caught.value)
    assert all(d.hint for d in caught.value.diagnostics)
    assert any(d.span is not None for d in caught.value.diagnostics)


def test_an_older_jetpack_is_refused_with_the_alternative(tmp_path: Path) -> None:
    target = tmp_path / "old.yaml"
    target.write_text(
        "extends: orin-nx-16gb\nname: old\ntitle: Old Orin\nruntimes: {edgellm: {software: {jetpack: '6.2'}}}\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"JetPack 6\.2 needs Edge-LLM 0\.6\.0") as caught:
        plan(tmp_path, edgellm("int4_rtn"), target="./old.yaml")
    assert "trtllm" in (caught.value.diagnostics[0].hint or "")
