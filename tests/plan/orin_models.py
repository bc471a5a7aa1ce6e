"""Headers of models that Orin recipes name, as their publishers' config.json has them; no weight stands behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgec.source.model import CheckpointHeader, DType, SourceIdentity, TensorInfo

_TOKENIZER = Path(__file__).parents[2] / "models" / "docs-llama"

LLAMA3_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "bos_token_id": 128000, "eos_token_id": 128009,
}  # fmt: skip
LLAMA32_1B: dict[str, Any] = {
    **LLAMA3_8B, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip


def header_of(config: dict[str, Any]) -> CheckpointHeader:
    """The header of a checkpoint in bfloat16 with this config.json."""
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    width, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (width,),
            f"{layer}.post_attention_layernorm.weight": (width,),
            f"{layer}.self_attn.q_proj.weight": (queries, width),
            f"{layer}.self_attn.k_proj.weight": (keys, width),
            f"{layer}.self_attn.v_proj.weight": (keys, width),
            f"{layer}.self_attn.o_proj.weight": (width, queries),
            f"{layer}.mlp.gate_proj.weight": (inner, width),
            f"{layer}.mlp.up_proj.weight": (inner, width),
            f"{layer}.mlp.down_proj.weight": (width, inner),
        }
    shapes["model.norm.weight"] = (width,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], width)
    tensors, offset = {}, 4096
    for name, shape in shapes.items():
        info = TensorInfo(name, DType.BF16, shape, "model.safetensors", offset, 0)
        tensors[name] = TensorInfo(name, DType.BF16, shape, "model.safetensors", offset, 2 * info.elements)
        offset += 2 * info.elements
    files = {n: (_TOKENIZER / n).read_bytes() for n in ("tokenizer.json", "tokenizer_config.json")}
    return CheckpointHeader(config, tensors, files, SourceIdentity("file:model", None, None, ()))
