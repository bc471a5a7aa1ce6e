"""What the comparison of a decoder needs, from its sizes alone: memory, time, tokens per prompt.

Rule: memory is an upper bound that tests hold against the measured peak; it does not grow with the number of layers.
"""

from __future__ import annotations

from edgec.quantize.architecture import Decoder
from edgec.recipe.model import Prove

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


def count_new_tokens(decoder: Decoder) -> tuple[int, str]:
    """How many tokens the reference for the device continues each prompt by, and why."""
    if decoder.parameters <= _QUICK_PARAMETERS:
        return NEW_TOKENS, f"{NEW_TOKENS} for models of at most {_QUICK_PARAMETERS / 1e9:g} billion parameters"
    return (
        2,
        "2, the second decoded with the KV cache: every further token runs all "
        f"{decoder.parameters / 1e9:.1f} billion parameters on the CPU again",
    )


def pair_memory_mib(decoder: Decoder, settings: Prove | None = None) -> int:
    """Upper bound of the comparison's peak memory, in MiB."""
    settings = settings or Prove()
    tokens = settings.windows * settings.window_tokens
    # Read from the file (float32 at worst), and widened.
    weights = 2 * 4 * decoder.layer_parameters
    # The windows' states three times over: gathered, chosen, and the other model's.
    states = 3 * 4 * tokens * decoder.width
    # Gate, up, their product and the input of each; queries, keys, values and the attention of one piece.
    piece = max(_LAYER_TOKENS, settings.window_tokens)
    inner = 4 * piece * (4 * decoder.inner + 6 * decoder.query_width + 4 * decoder.width)
    mask = 4 * piece * settings.window_tokens * (1 + decoder.heads)
    # Pieces of both heads, as read and widened, and blocks of logits in float64.
    rows = min(decoder.vocabulary, max(1, _HEAD_BYTES // (4 * decoder.width)))
    head = 2 * 2 * 4 * rows * decoder.width + 8 * 8 * 256 * rows
    return _BASE_MIB + ((states + max(weights + inner + mask, head)) >> 20)


def pair_timeout_s(decoder: Decoder, settings: Prove, prompts: int) -> float:
    """A time in which the comparison ends on any machine that can hold it."""
    window_tokens = settings.windows * settings.window_tokens
    tokens = 2 * window_tokens + count_new_tokens(decoder)[0] * prompts * 2 * PROMPT_TOKENS
    return _START_S + 2 * decoder.parameters * tokens / _MIN_FLOPS
