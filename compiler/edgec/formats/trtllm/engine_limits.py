"""How large an engine's batches, inputs, sequences and KV cache may be on a device with so much memory.

Rule: estimates, and named so: the weights and the KV cache are counted, activations are guessed from the shape. What
does not fit is refused with the number to change; nothing is made smaller silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.errors import EdgecError, InputError
from edgec.formats.trtllm.layout import TrtLlmLayout
from edgec.formats.trtllm.shape import DecoderShape

# `generation`: the logits of tokens that are generated can be asked for; `context`: of the prompt's tokens as well.
Logits = Literal["none", "generation", "context"]

TOKENS_PER_BLOCK = 64
_MIB = 1 << 20
# Prompts that are computed in one step: more tokens do not make an Orin faster, but take memory.
_STEP_TOKENS = 2048
# FP16 arrays of the residual's width and of the MLP's width that live at once, at the worst place of a layer.
_RESIDUAL_ARRAYS, _MLP_ARRAYS = 4, 3
# Logits in FP32, their FP16 product, and what sampling keeps beside them.
_LOGIT_BYTES = 16
_SHARED_LOGIT_BYTES = 6


@dataclass(frozen=True)
class EngineWish:
    """What a recipe asks for: sequences at once, tokens of a prompt, new tokens, tokens of one sequence at most."""

    batch: int = 8
    input_tokens: int = 512
    output_tokens: int = 256
    context: int | None = None
    logits: Logits = "generation"


@dataclass(frozen=True)
class EngineLimits:
    """Arguments of `trtllm-build`, and what they take (estimates). `kv_cache_tokens`: of all sequences together."""

    max_batch_size: int
    max_input_len: int
    max_seq_len: int
    max_num_tokens: int
    kv_cache_tokens: int
    logits: Logits
    weights_mib: float
    activations_mib: float
    kv_cache_mib: float

    @property
    def total_mib(self) -> float:
        """Weights, activations and KV cache; without what CUDA and the program take."""
        return self.weights_mib + self.activations_mib + self.kv_cache_mib


def engine_limits(layout: TrtLlmLayout, budget_mib: float, wish: EngineWish) -> EngineLimits:
    """The limits of the engine of `layout` where it may take `budget_mib`, CUDA and the program not counted.

    The cache holds `batch` sequences of `input_tokens` + `output_tokens`, and at least one of the whole context; what
    is left makes it larger, up to `batch` whole contexts. Raises InputError, naming the number to change.
    """
    context = _context(layout, wish)
    least = _limits(layout, wish, context, wish.batch)
    if least.total_mib > budget_mib:
        raise _too_large(layout, budget_mib, wish, context, least)
    spare_tokens = int((budget_mib - least.total_mib) * _MIB) // kv_bytes_per_token(layout)
    most = wish.batch * _blocks(context)
    tokens = min(most, (least.kv_cache_tokens + spare_tokens) // TOKENS_PER_BLOCK * TOKENS_PER_BLOCK)
    return _limits(layout, wish, context, wish.batch, tokens)


def kv_bytes_per_token(layout: TrtLlmLayout) -> int:
    """Bytes that one token of one sequence takes in the KV cache."""
    return layout.shape.kv_elements_per_token * (1 if layout.kv_cache == "int8" else 2)


def _context(layout: TrtLlmLayout, wish: EngineWish) -> int:
    needed = wish.input_tokens + wish.output_tokens
    context = needed if wish.context is None else wish.context
    if context < needed:
        raise InputError.of(
            f"{wish.input_tokens} input and {wish.output_tokens} new tokens do not fit a context of {context}",
            hint=f"raise `context` to {needed}, or lower one of them",
        )
    longest = int(layout.shape.positions * layout.shape.rope.stretch)
    if context > longest:
        raise InputError.of(
            f"the model knows {longest} positions, and a context of {context} is asked for",
            hint=f"lower `context` to {longest}",
        )
    if layout.shape.window is not None and context > layout.shape.window:
        raise InputError.of(
            f"the model's attention looks back {layout.shape.window} tokens, and a context of {context} is asked for",
            hint=f"lower `context` to {layout.shape.window}, up to which the engine computes the same",
        )
    return context


def _limits(
    layout: TrtLlmLayout, wish: EngineWish, context: int, batch: int, kv_tokens: int | None = None
) -> EngineLimits:
    step = _step_tokens(wish, context, batch)
    tokens = _least_kv_tokens(wish, context, batch) if kv_tokens is None else kv_tokens
    return EngineLimits(
        max_batch_size=batch,
        max_input_len=wish.input_tokens,
        max_seq_len=context,
        max_num_tokens=step,
        kv_cache_tokens=tokens,
        logits=wish.logits,
        weights_mib=(layout.engine_bytes + _rope_table_bytes(layout.shape)) / _MIB,
        activations_mib=_activation_bytes(layout.shape, step, batch, wish) / _MIB,
        kv_cache_mib=tokens * kv_bytes_per_token(layout) / _MIB,
    )


def _step_tokens(wish: EngineWish, context: int, batch: int) -> int:
    """Tokens of one step: at least one whole prompt and one token of each sequence, whole blocks of them."""
    wanted = max(wish.input_tokens, batch, min(batch * wish.input_tokens, _STEP_TOKENS))
    return min(_blocks(wanted), batch * context)


def _least_kv_tokens(wish: EngineWish, context: int, batch: int) -> int:
    return max(batch * _blocks(wish.input_tokens + wish.output_tokens), _blocks(context))


def _blocks(tokens: int) -> int:
    return -(-tokens // TOKENS_PER_BLOCK) * TOKENS_PER_BLOCK


def _rope_table_bytes(shape: DecoderShape) -> int:
    """Sine and cosine of every position, in FP32."""
    return shape.positions * shape.head_size * 4


def _activation_bytes(shape: DecoderShape, step: int, batch: int, wish: EngineWish) -> int:
    widths = _RESIDUAL_ARRAYS * shape.hidden + sum(shape.qkv_rows) + _MLP_ARRAYS * shape.intermediate
    logits = batch * shape.vocabulary * _LOGIT_BYTES
    if wish.logits == "context":
        logits += step * shape.vocabulary * _SHARED_LOGIT_BYTES
    return 2 * step * widths + logits


def _too_large(
    layout: TrtLlmLayout, budget_mib: float, wish: EngineWish, context: int, least: EngineLimits
) -> EdgecError:
    what = (
        f"the engine needs about {least.total_mib:.0f} MiB (weights {least.weights_mib:.0f}, "
        f"activations {least.activations_mib:.0f}, KV cache {least.kv_cache_mib:.0f}), "
        f"and {budget_mib:.0f} MiB are there"
    )
    return InputError.of(what, hint=_advice(layout, budget_mib, wish, context, least))


def _advice(layout: TrtLlmLayout, budget_mib: float, wish: EngineWish, context: int, least: EngineLimits) -> str:
    batch = next((b for b in range(wish.batch - 1, 0, -1) if _fits(layout, budget_mib, wish, context, b)), None)
    if batch is not None:
        return f"lower the batch from {wish.batch} to {batch}"
    shortest = wish.input_tokens + wish.output_tokens
    lengths = range(context // TOKENS_PER_BLOCK * TOKENS_PER_BLOCK, shortest, -TOKENS_PER_BLOCK)
    length = next((n for n in lengths if n < context and _fits(layout, budget_mib, wish, n, 1)), None)
    if length is not None:
        return f"lower the batch to 1 and `context` from {context} to {length}"
    if least.weights_mib < budget_mib and layout.kv_cache == "fp16":
        return "lower `input_tokens` and `output_tokens`, or quantize the KV cache to INT8"
    if layout.scheme.engine_bits > 4:
        return "use a scheme of 4 bits (int4_awq), a smaller model, or a device with more memory"
    return "use a smaller model, or a device with more memory"


def _fits(layout: TrtLlmLayout, budget_mib: float, wish: EngineWish, context: int, batch: int) -> bool:
    return _limits(layout, wish, context, batch).total_mib <= budget_mib
