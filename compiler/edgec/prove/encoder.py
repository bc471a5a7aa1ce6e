"""Compares the embeddings of two encoders on the lines of a text.

Rule: one text, one embedding, pooled by the runtime as the model says; cosines in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgec.errors import InputError
from edgec.formats.gguf.runtime.client import LlamaProcess

Floats = npt.NDArray[np.floating]
_Doubles = npt.NDArray[np.float64]

MAX_TEXTS = 64
_MIN_TEXTS = 4
_MIN_CHARACTERS = 20


@dataclass(frozen=True)
class EmbeddingAgreement:
    """Cosines between artifact and reference over `texts`; `broken`: texts with a zero or not finite embedding.

    `alike`: mean cosine of the reference's embeddings of different texts; near 1 means that it ignores its input.
    """

    texts: int
    broken: int
    min_cosine: float
    mean_cosine: float
    alike: float


def choose_texts(text: str) -> list[str]:
    """Up to 64 lines, evenly over the text, each long enough to mean something. Raises InputError below 4."""
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if len(line.strip()) >= _MIN_CHARACTERS))
    if len(lines) < _MIN_TEXTS:
        raise InputError.of(
            f"the held-out text has {len(lines)} different lines of at least {_MIN_CHARACTERS} characters; "
            f"the proof of an encoder needs {_MIN_TEXTS}",
            hint="give a longer prove.held_out, one passage per line",
        )
    count = min(MAX_TEXTS, len(lines))
    return [lines[i * (len(lines) - 1) // (count - 1)] for i in range(count)]


def text_tokens(llama: LlamaProcess, texts: Sequence[str]) -> list[list[int]]:
    """Ids with the model's special tokens; a text longer than the context loses its middle end, not its last token."""
    ids = [llama.tokenize(text, add_special=True, parse_special=False) for text in texts]
    return [cut_to_context(i, llama.info().n_ctx) for i in ids]


def cut_to_context(ids: list[int], n_ctx: int) -> list[int]:
    """At most `n_ctx` of the ids; the last one, a special token, stays."""
    return ids if len(ids) <= n_ctx else [*ids[: n_ctx - 1], ids[-1]]


def compare_embeddings(reference: Floats, artifact: Floats) -> EmbeddingAgreement:
    """Embeddings of the same texts, shape (texts, n_embd) each. Without two finite texts the cosines are NaN."""
    if reference.shape != artifact.shape:
        raise ValueError(f"embeddings of shapes {reference.shape} and {artifact.shape}")
    usable = _usable(reference) & _usable(artifact)
    broken = int((~usable).sum())
    a, b = _unit(reference[usable]), _unit(artifact[usable])
    n = a.shape[0]
    if n < 2:
        return EmbeddingAgreement(n, broken, float("nan"), float("nan"), float("nan"))
    cosines = (a * b).sum(axis=1)
    # The mean over all ordered pairs of different rows, from the square of their sum.
    alike = float(((a.sum(axis=0) ** 2).sum() - n) / (n * (n - 1)))
    return EmbeddingAgreement(n, broken, float(cosines.min()), float(cosines.mean()), alike)


def _usable(rows: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1), dtype=np.bool_)


def _unit(rows: Floats) -> _Doubles:
    wide: _Doubles = rows.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide
