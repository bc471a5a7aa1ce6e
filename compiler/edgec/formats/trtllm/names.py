"""Which of Hugging Face's tensors make which of TensorRT-LLM's.

Rule: the one table of names; the planner and the reader use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EMBEDDING = ("transformer.vocab_embedding.weight", "model.embed_tokens.weight")
FINAL_NORM = ("transformer.ln_f.weight", "model.norm.weight")
OUTPUT = ("lm_head.weight", "lm_head.weight")
# Within a layer: TensorRT-LLM's linear -> Hugging Face's, whose output channels follow each other in it.
LINEARS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.dense": ("self_attn.o_proj",),
        # `fc` is the one that is activated.
        "mlp.fc": ("mlp.gate_proj",),
        "mlp.gate": ("mlp.up_proj",),
        "mlp.proj": ("mlp.down_proj",),
    }
)
NORMS: Mapping[str, str] = MappingProxyType(
    {
        "input_layernorm.weight": "input_layernorm.weight",
        "post_layernorm.weight": "post_attention_layernorm.weight",
    }
)


def layer_of(index: int) -> tuple[str, str]:
    """What the names of layer `index` begin with: TensorRT-LLM's, Hugging Face's."""
    return f"transformer.layers.{index}", f"model.layers.{index}"
