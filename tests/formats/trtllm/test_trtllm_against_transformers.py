"""Random tiny models of transformers, written, read by the other reader, and run: the logits are the source's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from written import write

from edgec.formats.trtllm.decode import decode_checkpoint
from edgec.source.local import open_local

pytestmark = pytest.mark.reference
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

COMMON = {
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "dtype": torch.float16,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-3.1": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {"head_dim": 32, "sliding_window": None}),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2-tied": ("Qwen2", {"tie_word_embeddings": True}),
}
# Relative to the range of the logits. FP16 is exact in the file; what the model computes is float32 in both. Random
# weights in 4 bits say little of the source: there, only both readers are compared.
TOLERANCES = {"fp16": 1e-5, "int8_wo": 0.15, "int4_wo": 1.0}
BIASED = {
    "attention.dense": "self_attn.o_proj",
    "mlp.fc": "mlp.gate_proj",
    "mlp.gate": "mlp.up_proj",
    "mlp.proj": "mlp.down_proj",
}


def save(name: str, folder: Path) -> Any:
    family, changes = MODELS[name]
    torch.manual_seed(len(name))
    config = getattr(transformers, f"{family}Config")(**COMMON, **changes)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms and biases would be ones and zeros, which hide a mistake.
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.to(torch.float16).save_pretrained(folder)
    # Not the model itself, whose rotary frequencies are FP16 now.
    return loaded(type(model), folder)


def loaded(family: Any, folder: Path) -> Any:
    return family.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: Any) -> np.ndarray:
    tokens = torch.from_numpy(np.random.default_rng(4).integers(0, 512, 48))[None]
    with torch.no_grad():
        return np.asarray(model(tokens).logits[0].numpy())


def from_oracle(folder: Path, name: str, source: Any) -> Any:
    """The model as the other reader finds it; rotary settings from the artifact's own config.json."""
    stated = json.loads((folder / "config.json").read_text())
    scaling = dict(stated["rotary_scaling"] or {"rope_type": "default"})
    scaling.pop("type", None)
    config = type(source.config)(
        hidden_size=stated["hidden_size"], intermediate_size=stated["intermediate_size"],
        num_hidden_layers=stated["num_hidden_layers"], num_attention_heads=stated["num_attention_heads"],
        num_key_value_heads=stated["num_key_value_heads"], vocab_size=stated["vocab_size"],
        max_position_embeddings=stated["max_position_embeddings"], rms_norm_eps=stated["norm_epsilon"],
        head_dim=stated["head_size"], rope_parameters={**scaling, "rope_theta": stated["rotary_base"]},
        attention_bias=stated["attn_bias"], mlp_bias=stated["mlp_bias"], sliding_window=None,
        tie_word_embeddings=stated["share_embedding_table"],
    )  # fmt: skip
    model = type(source)(config).float().eval()
    state = {n: torch.from_numpy(v) for n, v in oracle.hugging_face(folder).items()}
    tensors = oracle.read_tensors(folder / "rank0.safetensors")
    for layer in range(stated["num_hidden_layers"]):
        for ours, theirs in BIASED.items():
            bias = tensors.get(f"transformer.layers.{layer}.{ours}.bias")
            if bias is not None:
                state[f"model.layers.{layer}.{theirs}.bias"] = torch.from_numpy(bias.astype(np.float32))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if stated["share_embedding_table"] else set()), name
    model.tie_weights()
    return model


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    spread = float(expected.max() - expected.min())
    assert spread > 1, "the model says nothing, so the comparison would show nothing"
    return float(np.abs(found - expected).max()) / spread


@pytest.mark.parametrize("scheme", TOLERANCES)
@pytest.mark.parametrize("name", MODELS)
def test_logits(name: str, scheme: str, tmp_path: Path, record_property: Any) -> None:
    source = save(name, tmp_path / "hf")
    checkpoint = open_local(tmp_path / "hf")
    write(checkpoint, scheme, tmp_path / "out")
    expected = logits(source)
    found = logits(from_oracle(tmp_path / "out", name, source))
    record_property("relative_difference", difference(found, expected))
    assert difference(found, expected) <= TOLERANCES[scheme]
    # What edgec decodes for its own proof is the same model.
    (tmp_path / "plain").mkdir()
    decode_checkpoint(tmp_path / "out", checkpoint.header.config, tmp_path / "plain")
    assert difference(logits(loaded(type(source), tmp_path / "plain")), found) <= 1e-2
