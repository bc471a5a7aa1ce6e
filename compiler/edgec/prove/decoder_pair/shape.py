"""How large a decoder is, from its config.json alone, and what its comparison needs: memory, time, tokens per prompt.

Rule: memory is an upper bound that tests hold against the measured peak; it does not grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import InputError
from edgec.recipe.model import Prove

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
# torch and transformers, imported.
_BASE_MIB = 620
# What inside/ sends through a layer at once, and its piece of the head.
_LAYER_TOKENS = 1024
_HEAD_BYTES = 64 << 20
# Slower than any machine that builds: a build of 8 billion parameters must not end at a limit.
_MIN_FLOPS = 5e9
_START_S = 600.0
# Above it a token more for each prompt takes minutes.
_QUICK_PARAMETERS = 2_000_000_000
NEW_TOKENS = 8
PROMPT_TOKENS = 64


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder. `kv_width`: of keys, of all heads together."""

    hidden: int
    intermediate: int
    layers: int
    query_width: int
    kv_width: int
    heads: int
    vocabulary: int
    context: int
    is_tied: bool

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer; norms and biases are in the last term."""
        attention = 2 * self.hidden * (self.query_width + self.kv_width)
        return attention + 3 * self.hidden * self.intermediate + 8 * self.hidden

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        tables = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        return self.layers * self.layer_parameters + tables

    @property
    def new_tokens(self) -> tuple[int, str]:
        """How many tokens the reference for the device continues each prompt by, and why."""
        if self.parameters <= _QUICK_PARAMETERS:
            return NEW_TOKENS, f"{NEW_TOKENS} for models of at most {_QUICK_PARAMETERS / 1e9:g} billion parameters"
        why = f"1, because every further token runs all {self.parameters / 1e9:.1f} billion parameters on the CPU again"
        return 1, why


def decoder_shape(config: Mapping[str, Any]) -> DecoderShape:
    """The shape that a config.json describes. Raises InputError for what cannot be compared, or has no size."""
    names = config.get("architectures") or ["none"]
    if names[0] not in ARCHITECTURES:
        raise InputError.of(
            f"the proof in torch knows no {names[0]}",
            place="config.json",
            hint=f"use one of {', '.join(ARCHITECTURES)}",
        )
    heads = _size(config, "num_attention_heads")
    hidden = _size(config, "hidden_size")
    head = config.get("head_dim") or hidden // heads
    return DecoderShape(
        hidden=hidden,
        intermediate=_size(config, "intermediate_size"),
        layers=_size(config, "num_hidden_layers"),
        query_width=head * heads,
        kv_width=head * (config.get("num_key_value_heads") or heads),
        heads=heads,
        vocabulary=_size(config, "vocab_size"),
        context=_size(config, "max_position_embeddings"),
        # What transformers assumes of these architectures when config.json does not say.
        is_tied=bool(config.get("tie_word_embeddings", False)),
    )


def pair_memory_mib(config: Mapping[str, Any], settings: Prove | None = None) -> int:
    """Upper bound of the comparison's peak memory, in MiB."""
    shape, settings = decoder_shape(config), settings or Prove()
    tokens = settings.windows * settings.window_tokens
    # Read from the file (float32 at worst), and widened.
    weights = 2 * 4 * shape.layer_parameters
    # The windows' states three times over: gathered, chosen, and the other model's.
    states = 3 * 4 * tokens * shape.hidden
    # Gate, up, their product and the input of each; queries, keys, values and the attention of one piece.
    piece = max(_LAYER_TOKENS, settings.window_tokens)
    inner = 4 * piece * (4 * shape.intermediate + 6 * shape.query_width + 4 * shape.hidden)
    mask = 4 * piece * settings.window_tokens * (1 + shape.heads)
    # Pieces of both heads, as read and widened, and blocks of logits in float64.
    rows = min(shape.vocabulary, max(1, _HEAD_BYTES // (4 * shape.hidden)))
    head = 2 * 2 * 4 * rows * shape.hidden + 8 * 8 * 256 * rows
    return _BASE_MIB + ((states + max(weights + inner + mask, head)) >> 20)


def pair_timeout_s(shape: DecoderShape, settings: Prove, prompts: int) -> float:
    """A time in which the comparison ends on any machine that can hold it."""
    window_tokens = settings.windows * settings.window_tokens
    tokens = 2 * window_tokens + shape.new_tokens[0] * prompts * 2 * PROMPT_TOKENS
    return _START_S + 2 * shape.parameters * tokens / _MIN_FLOPS


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise InputError.of(f"`{name}` is {value!r}; it must be a number above 0", place="config.json",
                            hint="download config.json again")  # fmt: skip
    return value
