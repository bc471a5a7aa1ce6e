"""Plans of ONNX decoders: sizes from headers, and what the builder, the proof or the device would get wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from orin_models import LLAMA3_8B, header_of

from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.onnx import plan_onnx
from edgec.plan.onnx_decoder import OnnxDecoderPlan, is_decoder, plan_onnx_decoder
from edgec.recipe.onnx import OnnxArtifact

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
QWEN2: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu",
    "tie_word_embeddings": True, "bos_token_id": 151643, "eos_token_id": 151645, "use_sliding_window": False,
}  # fmt: skip
RECIPE = """\
schema: edgec/recipe/v1
name: decoder
version: 1.0.0
target: {target}
source: {{path: {model}}}
artifacts:
  - format: onnx
    {settings}
{more}"""


def plan(
    folder: Path, settings: str = "quantize: {scheme: int4}", more: str = "", *, target: str = "pi5-4gb", **changes: Any
) -> OnnxDecoderPlan:
    """The plan of Qwen2 0.5B, or of a model with another config.json."""
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(target=target, model=MODEL, settings=settings, more=more), encoding="utf-8")
    loaded, profile = load_checked(path, env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, OnnxArtifact)
    return plan_onnx_decoder(loaded, profile, header_of({**QWEN2, **changes}), artifact, 0)


def refusal(folder: Path, *arguments: str, **changes: Any) -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, *arguments, **changes)
    (found,) = caught.value.diagnostics
    return found


def test_sizes_of_qwen2_are_those_of_the_files(tmp_path: Path) -> None:
    # Of a model of this shape, built: docs/onnx.md.
    measured = {"int4": 317_289_984, "int8": 564_270_592, "fp16": 992_204_544, "fp32": 1_984_409_088}
    for scheme, data in measured.items():
        made = plan(tmp_path, f"quantize: {{scheme: {scheme}}}")
        assert data <= made.layout.data_bytes < 1.005 * data, scheme
        assert made.layout.graph_bytes > 184_274
        assert made.summary.files[:2] == (f"{scheme}/model.onnx", f"{scheme}/model.onnx.data")
        assert made.facts.kind == "decoder"


def test_the_cache_is_as_wide_as_the_graphs_and_a_prompt_is_read_in_pieces(tmp_path: Path) -> None:
    items = {item.name: item for item in plan(tmp_path, more="context: 2048\n").summary.fit.items}
    assert items["KV cache"].mib == 24 * 2 * 128 * 2048 * 4 / 2**20
    # Logits of 256 tokens over a vocabulary of 151936, in float32: 148 MiB.
    assert 148 < items["compute buffer"].mib < 160
    half = {item.name: item for item in plan(tmp_path, "quantize: {scheme: fp16}", "context: 2048\n").summary.fit.items}
    assert half["KV cache"].mib == items["KV cache"].mib / 2


def test_the_speed_is_an_estimate_and_says_so(tmp_path: Path) -> None:
    (speed,) = plan(tmp_path).summary.speeds
    assert speed.confidence == "uncalibrated"
    assert speed.provenance.startswith("estimate")
    assert plan(tmp_path, "graph: standard\n    quantize: {scheme: fp32}").summary.speeds == ()


def test_a_head_of_its_own_counts_with_its_embedding(tmp_path: Path) -> None:
    tied, untied = plan(tmp_path).layout, plan(tmp_path, tie_word_embeddings=False).layout
    table = 151936 * 896
    assert untied.embedding_bytes == table // 2 + table // 32 * 4
    assert untied.weights_bytes == tied.weights_bytes + untied.embedding_bytes
    assert "shared_embeddings=true" in tied.options
    assert "op_types_to_quantize=MatMul/Gather" in untied.options


@pytest.mark.parametrize(
    ("settings", "message", "line"),
    [
        ("quantize: {scheme: int8_fine}", "decoders as `onnx` have no scheme `int8_fine`", "scheme"),
        ("graph: standard\n    quantize: {scheme: int4}", "`graph: standard` has no scheme `int4`", "scheme"),
        ("quantize: {scheme: fp16, block_size: 64}", "`block_size` has no use with `fp16`", "block_size"),
        ("quantize: {scheme: int8, algorithm: k_quant}", "`algorithm` has no use with `int8`", "algorithm"),
    ],
)
def test_settings_without_a_use_are_refused_at_their_line(
    tmp_path: Path, settings: str, message: str, line: str
) -> None:
    found = refusal(tmp_path, settings)
    assert message in found.message
    assert found.span is not None
    assert line in found.span.source_line


def test_thresholds_of_encoders_are_refused(tmp_path: Path) -> None:
    found = refusal(tmp_path, "quantize: {scheme: int4}", "prove: {min_cosine: 0.9}\n")
    assert "`prove.min_cosine` means nothing for this model" in found.message


def test_what_the_builder_or_the_proof_would_get_wrong_is_refused_with_gguf(tmp_path: Path) -> None:
    linear = refusal(tmp_path, rope_scaling={"type": "linear", "factor": 4.0})
    assert "ignores rotary scaling of the type `linear`" in linear.message
    gemma = refusal(tmp_path, architectures=["GemmaForCausalLM"])
    assert "'GemmaForCausalLM'" in gemma.message
    for found in (linear, gemma):
        assert "gguf" in (found.hint or "").lower()
    standard = plan(
        tmp_path, "graph: standard\n    quantize: {scheme: fp32}", rope_scaling={"type": "linear", "factor": 4.0}
    )
    assert "genai_config.json" not in standard.layout.files


def test_a_browser_is_refused_with_gguf(tmp_path: Path) -> None:
    found = refusal(tmp_path, "quantize: {scheme: fp32}", target="wasm-browser")
    assert "seconds a token" in found.message
    assert "`format: gguf`" in (found.hint or "")
    assert found.span is not None
    assert found.span.source_line == "  - format: onnx"
    assert "seconds a token" in refusal(tmp_path, target="wasm-browser").message


def test_a_context_longer_than_the_models_is_refused(tmp_path: Path) -> None:
    assert "more than the model's 32768" in refusal(tmp_path, "quantize: {scheme: int4}", "context: 40000\n").message


def test_a_large_model_does_not_fit_and_the_advice_is_a_number(tmp_path: Path) -> None:
    made = plan(tmp_path, "quantize: {scheme: fp32}", **LLAMA3_8B)
    assert made.summary.fit.verdict == "no"


def test_a_model_that_is_no_decoder_takes_none_of_a_decoders_settings(tmp_path: Path) -> None:
    assert is_decoder({"architectures": ["GPT2LMHeadModel"]})
    assert not is_decoder({"architectures": ["BertModel"]})
    settings = "graph: standard\n    quantize: {scheme: int4, block_size: 64}"
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(target="pi5-4gb", model=MODEL, settings=settings, more=""), encoding="utf-8")
    loaded, target = load_checked(path, env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, OnnxArtifact)
    header = dataclasses.replace(header_of(QWEN2), config=json.loads('{"architectures": ["BertModel"]}'))
    with pytest.raises(InputError) as caught:
        plan_onnx(loaded, target, header, artifact, 0)
    assert [d.message.split("`")[1] for d in caught.value.diagnostics] == ["graph", "block_size"]
