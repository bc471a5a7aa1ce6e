"""GGUF recipes that name models of a hub, built whole on small models of the same architectures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engine_models
import numpy as np
import pytest
from build_shop import MODEL, Shop, hub_of
from encoder_models import save_tensors, write_encoder

RECIPES = Path(__file__).parents[2] / "recipes"
_WIDTH, _INNER, _LAYERS, _HEADS = 256, 512, 2, 4


def nomic(folder: Path) -> dict[str, bytes]:
    """Random weights with a vocabulary of the test's own; its long context costs nothing."""
    lines = (MODEL / "calibration.txt").read_text(encoding="utf-8").splitlines()
    bert = write_encoder(folder / "bert", lines[:2000])
    n_vocab = json.loads((bert / "config.json").read_text())["vocab_size"]
    config: dict[str, Any] = {
        "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "activation_function": "swiglu",
        "n_embd": _WIDTH, "n_head": _HEADS, "n_inner": _INNER, "n_layer": _LAYERS, "n_positions": 8192,
        "vocab_size": n_vocab, "type_vocab_size": 2, "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "qkv_proj_bias": False, "mlp_fc1_bias": False,
        "mlp_fc2_bias": False, "prenorm": False, "causal": False, "max_trained_positions": 2048,
    }  # fmt: skip
    save_tensors(folder / "nomic.safetensors", dict(_nomic_tensors(n_vocab)))
    kept = ("tokenizer.json", "tokenizer_config.json", "modules.json", "1_Pooling/config.json")
    return {
        **{name: (bert / name).read_bytes() for name in kept},
        "config.json": json.dumps(config).encode(),
        "model.safetensors": (folder / "nomic.safetensors").read_bytes(),
    }


def _nomic_tensors(n_vocab: int) -> Iterator[tuple[str, Any]]:
    rng = np.random.default_rng(0)

    def norm(name: str) -> Iterator[tuple[str, Any]]:
        yield f"{name}.weight", np.ones(_WIDTH, np.float32)
        yield f"{name}.bias", np.zeros(_WIDTH, np.float32)

    def matrix(rows: int, columns: int) -> Any:
        return rng.standard_normal((rows, columns), np.float32) * np.float32(0.05)

    yield "embeddings.word_embeddings.weight", matrix(n_vocab, _WIDTH) * 10
    yield "embeddings.token_type_embeddings.weight", matrix(2, _WIDTH)
    yield from norm("emb_ln")
    for i in range(_LAYERS):
        layer = f"encoder.layers.{i}"
        yield f"{layer}.attn.Wqkv.weight", matrix(3 * _WIDTH, _WIDTH)
        yield f"{layer}.attn.out_proj.weight", matrix(_WIDTH, _WIDTH)
        yield f"{layer}.mlp.fc11.weight", matrix(_INNER, _WIDTH)
        yield f"{layer}.mlp.fc12.weight", matrix(_INNER, _WIDTH)
        yield f"{layer}.mlp.fc2.weight", matrix(_WIDTH, _INNER)
        yield from norm(f"{layer}.norm1")
        yield from norm(f"{layer}.norm2")


MODELS: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "pi5-qwen2": engine_models.qwen2,
    "rk3588-qwen2": engine_models.qwen2,
    "wasm-qwen2": engine_models.qwen2,
    "pi5-nomic-embed": nomic,
}


@pytest.mark.parametrize("name", list(MODELS))
def test_the_recipe_is_built_from_a_hub(shop: Shop, name: str) -> None:
    if name.startswith("wasm") and shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    path = RECIPES / f"{name}.yaml"
    with hub_of(shop, path, MODELS[name](shop.folder)) as online:
        built = online.run("build", path, "--set", "prove.windows=4")
    assert built.code == 0, built.last
    (proof,) = built.last["proofs"]
    assert all(check["passed"] for check in proof["checks"])
    verified = shop.run("verify", built.last["bundle"])
    assert verified.code == 0, verified.last
