"""What runs in the toolchain, here with the same library: against transformers' whole models and direct arithmetic."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pair_models import CONFIGS, INSIDE, config_of, random_tensors, write_checkpoint

from edgec.prove.divergence import DivergenceMeter

pytestmark = pytest.mark.reference

MODULES = ("checkpoint_folder", "compare", "divergence_sums", "int8_simulation", "streamed_model")
WINDOWS = [[(7 * i + 131 * w) % 4096 for i in range(48)] for w in range(5)]


@pytest.fixture(scope="module")
def inside() -> Iterator[SimpleNamespace]:
    """The script's modules."""
    pytest.importorskip("torch", reason="the `reference` extra is not installed")
    with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.syspath_prepend(str(INSIDE))
        modules = [importlib.import_module(name) for name in (*MODULES, "torch", "transformers")]
        folder, compare, sums, int8, streamed, torch, transformers = modules
        with torch.inference_mode():
            yield SimpleNamespace(
                CheckpointFolder=folder.CheckpointFolder,
                RefusedError=folder.RefusedError,
                DivergenceSums=sums.DivergenceSums,
                StreamedModel=streamed.StreamedModel,
                rounded=int8.rounded,
                compare=compare,
                torch=torch,
                transformers=transformers,
            )
    for name in MODULES:
        del sys.modules[name]


def opened(inside: Any, folder: Path, which: str = "candidate") -> Any:
    return inside.StreamedModel(inside.CheckpointFolder(folder, which), lambda name: None)


def streamed_logits(inside: Any, folder: Path, windows: list[list[int]]) -> Any:
    model = opened(inside, folder)
    hidden = model.hidden(windows)
    return model.logits(hidden.flatten(0, 1)).reshape(*hidden.shape[:2], -1)


def whole_model(inside: Any, folder: Path) -> Any:
    return inside.transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=inside.torch.float32).eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_whole_model(inside: Any, tmp_path: Path, name: str, monkeypatch) -> None:
    # One window of 48 tokens at a time, and a head in many pieces.
    monkeypatch.setattr(sys.modules["streamed_model"], "_LAYER_TOKENS", 50)
    monkeypatch.setattr(sys.modules["streamed_model"], "_HEAD_BYTES", 64 * 4 * 100)
    config = config_of(name)
    folder = write_checkpoint(tmp_path, config, random_tensors(config), shards=1 + ("qwen" in name))
    found = streamed_logits(inside, folder, WINDOWS)
    expected = whole_model(inside, folder)(inside.torch.tensor(WINDOWS)).logits
    assert float(expected.std()) > 0.1
    assert float((found - expected).abs().max()) < 1e-5


def test_windows_and_scaling_change_what_is_compared(inside: Any, tmp_path: Path) -> None:
    """The configs of the test above differ from plain ones in the numbers, so that it can fail."""
    for name, changes in (
        ("mistral-window", {"sliding_window": None}),
        ("qwen2-window", {"use_sliding_window": False}),
        ("llama3", {"rope_scaling": None}),
    ):
        tensors = random_tensors(config_of(name))
        first = streamed_logits(inside, write_checkpoint(tmp_path / name / "a", config_of(name), tensors), WINDOWS)
        second = write_checkpoint(tmp_path / name / "b", config_of(name, **changes), tensors)
        assert float((first - streamed_logits(inside, second, WINDOWS)).abs().max()) > 1e-3, name


def test_a_head_of_its_own_is_used_although_the_config_ties_it(inside: Any, tmp_path: Path) -> None:
    config = config_of("qwen2")
    tensors = random_tensors(config)
    tensors["lm_head.weight"] = np.ascontiguousarray(tensors["model.embed_tokens.weight"][::-1])
    folder = write_checkpoint(tmp_path, config, tensors)
    expected = whole_model(inside, folder)(inside.torch.tensor(WINDOWS)).logits
    assert float((streamed_logits(inside, folder, WINDOWS) - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_stored_types_are_widened(inside: Any, tmp_path: Path, dtype: str) -> None:
    config = config_of("llama")
    folder = write_checkpoint(tmp_path, config, random_tensors(config), dtype=dtype)
    expected = whole_model(inside, folder)(inside.torch.tensor(WINDOWS)).logits
    assert float((streamed_logits(inside, folder, WINDOWS) - expected).abs().max()) < 1e-5


def test_layers_hold_no_weights_when_they_do_not_run(inside: Any, tmp_path: Path) -> None:
    config = config_of("llama")
    steps: list[str] = []
    folder = inside.CheckpointFolder(write_checkpoint(tmp_path, config, random_tensors(config)), "source")
    model = inside.StreamedModel(folder, steps.append)
    model.hidden(WINDOWS)
    assert steps == [f"model.layers.{n}" for n in range(3)]
    assert {p.device.type for layer in model._base.layers for p in layer.parameters()} == {"meta"}


def test_greedy_answers_are_those_of_generate(inside: Any, tmp_path: Path) -> None:
    config = config_of("qwen2")
    folder = write_checkpoint(tmp_path, config, random_tensors(config))
    prompts = [list(range(5, 30)), list(range(700, 710)), [9]]
    found = inside.compare._answers(opened(inside, folder), prompts, 6, 4)
    whole = whole_model(inside, folder)
    for prompt, answer in zip(prompts, found, strict=True):
        text = list(prompt)
        for position in answer:
            expected = inside.torch.log_softmax(whole(inside.torch.tensor([text])).logits[0, -1].double(), 0)
            best = expected.topk(4)
            assert [i for i, _ in position] == best.indices.tolist()
            assert [v for _, v in position] == pytest.approx(best.values.tolist(), abs=2e-4)
            text.append(position[0][0])


def write_w8a8(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A tiny decoder with int8 inputs of two kinds and an int8 cache."""
    config = config_of("llama")
    tensors = random_tensors(config)
    linears, kv = {}, {}
    for n in range(3):
        down = f"model.layers.{n}.mlp.down_proj"
        tensors[f"{down}.pre_quant_scale"] = np.linspace(0.5, 2.0, 96, dtype=np.float32)
        linears[down] = {"input_scale": 0.003 * (n + 1), "pre_scale_tensor": f"{down}.pre_quant_scale"}
        for name in ("q", "k", "v"):
            linears[f"model.layers.{n}.self_attn.{name}_proj"] = {"input_scale": 0.02, "pre_scale_tensor": None}
        kv[str(n)] = {"k": 0.03, "v": 0.01 * (n + 1)}
    write_checkpoint(folder, config, tensors)
    document = {"linears": linears, "kv_cache": kv}
    (folder / "edgec-activations.json").write_text(json.dumps(document))
    return folder, document


def test_int8_inputs_and_cache_are_those_of_direct_arithmetic(inside: Any, tmp_path: Path) -> None:
    """The whole model with linears and attention written out here."""
    torch, functional = inside.torch, inside.torch.nn.functional
    folder, document = write_w8a8(tmp_path)
    whole = whole_model(inside, folder)

    def steps(x: Any, scale: float) -> Any:
        return torch.clamp(torch.round(x / scale), -128, 127) * scale

    def linear(name: str, module: Any, x: Any) -> Any:
        entry = document["linears"].get(name)
        if entry is not None:
            pre = torch.linspace(0.5, 2.0, 96) if entry["pre_scale_tensor"] else 1.0
            x = steps(x * pre, entry["input_scale"])
        return functional.linear(x, module.weight, module.bias)

    def turned(x: Any, cos: Any, sin: Any) -> Any:
        return x * cos + torch.cat((-x[..., 8:], x[..., :8]), dim=-1) * sin

    ids = torch.tensor(WINDOWS)
    states = whole.model.embed_tokens(ids)
    positions = torch.arange(ids.shape[1])[None, :]
    cos, sin = whole.model.rotary_emb(states, positions)
    causal = torch.full((48, 48), float("-inf")).triu(1)
    for n, layer in enumerate(whole.model.layers):
        name = f"model.layers.{n}"
        x = layer.input_layernorm(states)
        q, k, v = (
            linear(f"{name}.self_attn.{p}_proj", getattr(layer.self_attn, f"{p}_proj"), x)
            .reshape(5, 48, -1, 16)
            .transpose(1, 2)
            for p in "qkv"
        )
        scales = document["kv_cache"][str(n)]
        q, k = turned(q, cos[:, None], sin[:, None]), steps(turned(k, cos[:, None], sin[:, None]), scales["k"])
        v = steps(v, scales["v"])
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        mixed = torch.softmax(q @ k.transpose(2, 3) / 4 + causal, dim=-1) @ v
        states = states + layer.self_attn.o_proj(mixed.transpose(1, 2).reshape(5, 48, -1))
        x = layer.post_attention_layernorm(states)
        inner = functional.silu(layer.mlp.gate_proj(x)) * layer.mlp.up_proj(x)
        states = states + linear(f"{name}.mlp.down_proj", layer.mlp.down_proj, inner)
    expected = whole.lm_head(whole.model.norm(states))
    found = streamed_logits(inside, folder, WINDOWS)
    plain = whole(ids).logits
    assert float((found - plain).abs().max()) > 0.01
    # A value on the edge of a step may fall to either side in another order of additions.
    apart = (found - expected).abs()
    assert float(apart.max()) < 0.02
    assert float(apart.median()) < 1e-5


def test_a_factor_without_rounding_is_the_same_as_one_in_the_weights(inside: Any, tmp_path: Path) -> None:
    config = config_of("llama")
    tensors = random_tensors(config)
    folder = write_checkpoint(tmp_path / "plain", config, tensors)
    expected = streamed_logits(inside, folder, WINDOWS)
    down, factors = "model.layers.1.mlp.down_proj", np.linspace(0.5, 2.0, 96, dtype=np.float32)
    tensors[f"{down}.weight"] = tensors[f"{down}.weight"] / factors
    folder = write_checkpoint(tmp_path / "scaled", config, {**tensors, f"{down}.pre_quant_scale": factors})
    entry = {"input_scale": None, "pre_scale_tensor": f"{down}.pre_quant_scale"}
    (folder / "edgec-activations.json").write_text(json.dumps({"linears": {down: entry}}))
    assert float((streamed_logits(inside, folder, WINDOWS) - expected).abs().max()) < 1e-5


def test_rounding_is_to_even_and_clamped(inside: Any) -> None:
    values = inside.torch.tensor([0.25, 0.75, 1.25, -0.25, 100.0, -100.0])
    assert inside.rounded(values, 0.5).tolist() == [0.0, 1.0, 1.0, 0.0, 63.5, -64.0]


def test_divergence_is_the_one_of_the_other_proofs(inside: Any, monkeypatch) -> None:
    """In pieces of the vocabulary and blocks of tokens, against the meter of GGUF proofs."""
    monkeypatch.setattr(sys.modules["divergence_sums"], "_BLOCK_TOKENS", 7)
    rng = np.random.default_rng(1)
    states = [rng.standard_normal((20, 8), dtype=np.float32) for _ in range(2)]
    heads = [3 * rng.standard_normal((50, 8), dtype=np.float32) for _ in range(2)]
    heads[1] = heads[0] + 0.2 * heads[1]
    states[1] = states[0] + 0.05 * states[1]
    states[1][3] = np.inf
    targets = rng.integers(0, 50, 20).tolist()
    sums = inside.DivergenceSums(targets)
    as_torch = [[inside.torch.from_numpy(a) for a in pair] for pair in (states, heads)]
    for begin, end in ((0, 13), (13, 40), (40, 50)):
        sums.add(begin, tuple(as_torch[0]), tuple(h[begin:end] for h in as_torch[1]))
    found = sums.result(4)
    meter = DivergenceMeter()
    with np.errstate(invalid="ignore"):
        meter.add(states[0] @ heads[0].T, states[1] @ heads[1].T, targets)
    expected = meter.result()
    assert (found["tokens"], found["broken"]) == (expected.tokens, expected.broken) == (19, 1)
    assert found["mean_kl"] == pytest.approx(expected.mean_kl, rel=1e-5)
    assert found["top1"] == expected.top1
    assert np.exp(found["loss"]) == pytest.approx(expected.perplexity, rel=1e-6)
    assert np.exp(found["reference_loss"]) == pytest.approx(expected.reference_perplexity, rel=1e-6)
    parts = [w["mean_kl"] * w["tokens"] for w in found["windows"]]
    assert sum(parts) / 19 == pytest.approx(found["mean_kl"])
    assert 0 < found["mean_kl"] < 1
    assert found["top1"] < 1


def broken(change: str) -> dict[str, Any]:
    """A config and tensors with one mistake."""
    config = config_of("llama")
    tensors = random_tensors(config)
    match change:
        case "missing":
            del tensors["model.layers.1.mlp.up_proj.weight"]
        case "shape":
            tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"][:, :-1]
        case "nan":
            tensors["model.layers.2.mlp.up_proj.weight"][3, 3] = np.nan
        case "strange":
            tensors["model.layers.1.self_attn.q_proj.bias"] = np.zeros(64, np.float32)
        case "head":
            del tensors["lm_head.weight"]
        case "quantized":
            config["quantization_config"] = {"quant_method": "awq", "bits": 4}
        case "architecture":
            config |= {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "pad_token_id": 0}
    return {"config": config, "tensors": tensors}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"tensor 'model\.layers\.1\.mlp\.up_proj\.weight' is missing"),
        ("shape", r"up_proj\.weight' has the shape \[96, 63\]; the model's config wants \[96, 64\]"),
        ("nan", r"tensor 'model\.layers\.2\.mlp\.up_proj\.weight' has values that are not finite"),
        ("strange", r"1 tensors have no place in the model, the first is 'model\.layers\.1\.self_attn\.q_proj\.bias'"),
        ("head", r"tensor 'lm_head\.weight' is missing"),
        ("quantized", r"config\.json has a quantization_config"),
        ("architecture", r"the model is a Phi3ForCausalLM; compared are LlamaForCausalLM"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused_by_name(
    inside: Any, tmp_path: Path, change: str, message: str
) -> None:
    folder = write_checkpoint(tmp_path, **broken(change))
    with pytest.raises(inside.RefusedError, match=message):
        opened(inside, folder).hidden(WINDOWS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linears": {"model.layers.0.mlp.down_proj": {"input_scale": 0.0}}}, "is 0.0, which is no step"),
        ({"linears": {"model.layers.9.mlp.down_proj": {"input_scale": 0.1}}}, "linears that the model does not have"),
        ({"kv_cache": {"0": {"k": 0.1, "v": 0.1}}}, "KV cache scales of 1 layers; the model has 3"),
        (
            {"linears": {"model.layers.0.mlp.down_proj": {"input_scale": 0.1, "pre_scale_tensor": "none"}}},
            "tensor 'none' is missing",
        ),
    ],
)
def test_scales_that_cannot_be_are_refused(inside: Any, tmp_path: Path, change: Any, message: str) -> None:
    config = config_of("llama")
    folder = write_checkpoint(tmp_path, config, random_tensors(config))
    (folder / "edgec-activations.json").write_text(json.dumps(change))
    with pytest.raises(inside.RefusedError, match=message):
        opened(inside, folder)
