"""What a decoder layer computes, in float32 on numpy, a few sequences at a time.

Rule: the same as transformers' modules compute (tested against their logits); weights come a block of rows at a time,
so that no whole matrix has to be in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.architecture import Decoder, Rope

Floats = NDArray[np.float32]
# Rows [begin, end) of a weight matrix.
Rows = Callable[[int, int], Floats]

# Elements of a block of weight rows: 8 MB as float32.
_BLOCK_ELEMENTS = 1 << 21


def blocks(rows: int, columns: int, elements: int = _BLOCK_ELEMENTS) -> list[tuple[int, int]]:
    """Ranges of rows of about so many elements, that begin at multiples of 8."""
    step = max(8, elements // max(1, columns) // 8 * 8)
    return [(begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def multiply(x: Floats, rows: Rows, outputs: int, bias: Floats | None = None) -> Floats:
    """(tokens, inputs) times the transpose of a matrix (outputs, inputs)."""
    out = np.empty((len(x), outputs), np.float32)
    for begin, end in blocks(outputs, x.shape[1]):
        out[:, begin:end] = x @ rows(begin, end).T
    if bias is not None:
        out += bias
    return out


def rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    """Root mean square normalisation over the last axis."""
    mean = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
    out: Floats = x / np.sqrt(mean + np.float32(epsilon))
    out *= weight
    return out


def gated(gate: Floats, up: Floats) -> Floats:
    """silu(gate) * up, in the memory of `gate`."""
    # A large negative gate overflows exp to infinity, which is right: the quotient is 0 then.
    with np.errstate(over="ignore"):
        denominator = np.exp(-gate)
    denominator += 1
    gate /= denominator
    gate *= up
    return gate


def rope_tables(rope: Rope, head_dim: int, tokens: int) -> tuple[Floats, Floats]:
    """Cosines and sines (tokens, head_dim / 2)."""
    inverse = 1.0 / rope.theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if rope.kind == "linear":
        inverse /= rope.factor
    elif rope.kind == "llama3":
        inverse = _llama3(inverse, rope)
    angles = np.outer(np.arange(tokens, dtype=np.float64), inverse)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _llama3(inverse: NDArray[np.float64], rope: Rope) -> NDArray[np.float64]:
    """Llama 3's scaling: long waves are stretched by the factor, short ones stay, those between are blended."""
    waves = 2 * np.pi / inverse
    longest, shortest = (
        rope.original_context / rope.low_frequency_factor,
        rope.original_context / rope.high_frequency_factor,
    )
    smooth = (rope.original_context / waves - rope.low_frequency_factor) / (
        rope.high_frequency_factor - rope.low_frequency_factor
    )
    blended = (1 - smooth) * inverse / rope.factor + smooth * inverse
    return np.where(waves > longest, inverse / rope.factor, np.where(waves < shortest, inverse, blended))


def rotate(x: Floats, tables: tuple[Floats, Floats]) -> Floats:
    """Rotary positions of heads (sequences, tokens, heads, head_dim), halves as Hugging Face orders them."""
    cosine, sine = (t[None, :, None, :] for t in tables)
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def attention(query: Floats, key: Floats, value: Floats) -> Floats:
    """Causal attention: (sequences, tokens, heads, head_dim) and key-value heads, which groups of heads share."""
    sequences, tokens, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    future = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
    out = np.empty_like(query)
    scale = np.float32(head_dim**-0.5)
    for s in range(sequences):
        for h in range(kv_heads):
            own = slice(h * heads // kv_heads, (h + 1) * heads // kv_heads)
            scores = np.matmul(query[s, :, own].transpose(1, 0, 2), key[s, :, h].T)
            scores *= scale
            scores += future
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            out[s, :, own] = np.matmul(scores, value[s, :, h]).transpose(1, 0, 2)
    return out


def attend(
    decoder: Decoder, projected: tuple[Floats, Floats, Floats], norms: tuple[Floats, Floats] | None, tokens: int
) -> Floats:
    """Attention over windows of `tokens` from query, key and value (rows, channels); rows are whole windows."""
    query, key, value = projected
    q, k = (
        positioned(decoder, query, norms[0] if norms else None, tokens),
        positioned(decoder, key, norms[1] if norms else None, tokens),
    )
    v = value.reshape(-1, tokens, decoder.kv_heads, decoder.head_dim)
    return attention(q, k, v).reshape(len(query), decoder.query_width)


def positioned(decoder: Decoder, projected: Floats, norm: Floats | None, tokens: int) -> Floats:
    """Queries or keys as attention uses them: normalised per head if the model does that, and rotated."""
    heads = projected.reshape(-1, tokens, projected.shape[1] // decoder.head_dim, decoder.head_dim)
    if norm is not None:
        heads = rms_norm(heads, norm, decoder.epsilon)
    return rotate(heads, rope_tables(decoder.rope, decoder.head_dim, tokens))
