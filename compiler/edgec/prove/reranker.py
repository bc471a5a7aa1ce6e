"""Compares the scores that two rerankers give to pairs of a query and a document.

Rule: what counts is the order of the documents of one query, so errors are measured against the spread of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgec.formats.gguf.runtime.client import LlamaProcess
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.pair import DOCUMENT, QUERY
from edgec.prove.encoder import choose_texts, cut_to_context
from edgec.prove.model import Check
from edgec.prove.tokens import pair_ids

_QUERIES = 8
_DOCUMENTS = 8
# Characters of a text; a pair must fit a context of 512 tokens whatever the language.
_QUERY_CHARACTERS, _DOCUMENT_CHARACTERS = 60, 160

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class TextPair:
    """A query and a document; pairs of one query have one `group`."""

    group: int
    query: str
    document: str


@dataclass(frozen=True)
class ScoreAgreement:
    """How the artifact's scores stand to the reference's, over `pairs`; `broken`: scores that are not finite.

    `spread`: standard deviation of the reference's scores. `error`: root mean square of the differences, as a share of
    it. `same_order`: share of documents, two by two, that a query has in the same order in both.
    """

    pairs: int
    broken: int
    spread: float
    error: float
    same_order: float


def choose_pairs(text: str) -> list[TextPair]:
    """Queries that are beginnings of lines, each with its own line and others as documents. Raises InputError."""
    texts = choose_texts(text)
    count = min(_QUERIES, len(texts))
    picked = [texts[i * (len(texts) - 1) // (count - 1)] for i in range(count)]
    pairs = []
    for group, line in enumerate(picked):
        others = [t for t in texts if t != line]
        step = max(1, len(others) // (_DOCUMENTS - 1))
        documents = [line, *others[group % step :: step][: _DOCUMENTS - 1]]
        pairs += [TextPair(group, line[:_QUERY_CHARACTERS], d[:_DOCUMENT_CHARACTERS]) for d in documents]
    return pairs


def pair_tokens(
    llama: LlamaProcess, pairs: Sequence[TextPair], template: str | None, files: Mapping[str, bytes]
) -> tuple[list[list[int]], Check]:
    """The ids of each pair in llama.cpp's prompt, cut to the context, and whether they are Hugging Face's before that.

    Special tokens in the two texts are left to the proof of single texts.
    """
    if template is None:
        raise ValueError("a reranker's vocabulary has a template of pairs")
    prompts = [template.replace(DOCUMENT, p.document).replace(QUERY, p.query) for p in pairs]
    whole = [llama.tokenize(prompt, add_special=False, parse_special=True) for prompt in prompts]
    tokenizer = oracle_json(files)
    expected = whole if tokenizer is None else pair_ids(tokenizer, [(p.query, p.document) for p in pairs])
    wrong = [p for p, f, e in zip(pairs, whole, expected, strict=True) if f != e]
    check = Check(
        name="token ids of pairs",
        measured=len(wrong),
        threshold=0,
        relation="==",
        unit=f"different pairs of {len(pairs)}",
        passed=not wrong,
        detail="".join(f"query {p.query!r}, document {p.document!r}" for p in wrong[:1]),
        hint="the prompt of pairs does not do what the tokenizer does: use another reranker",
    )
    return [cut_to_context(ids, llama.info().n_ctx) for ids in whole], check


def compare_scores(pairs: Sequence[TextPair], reference: Floats, artifact: Floats) -> ScoreAgreement:
    """Scores of the same pairs, shape (pairs,) each. Without two finite ones all numbers are NaN."""
    if not len(pairs) == len(reference) == len(artifact):
        raise ValueError(f"{len(pairs)} pairs, {len(reference)} and {len(artifact)} scores")
    usable = np.isfinite(reference) & np.isfinite(artifact)
    broken = int((~usable).sum())
    r, a = reference[usable].astype(np.float64), artifact[usable].astype(np.float64)
    groups = np.array([p.group for p in pairs])[usable]
    if r.size < 2:
        return ScoreAgreement(int(r.size), broken, float("nan"), float("nan"), float("nan"))
    spread = float(r.std())
    error = float(np.sqrt(np.mean((a - r) ** 2))) / spread if spread else float("inf")
    return ScoreAgreement(int(r.size), broken, spread, error, _same_order(groups, r, a))


def _same_order(groups: npt.NDArray[np.int_], reference: Floats, artifact: Floats) -> float:
    first, second = np.triu_indices(reference.size, 1)
    comparable = (groups[first] == groups[second]) & (reference[first] != reference[second])
    first, second = first[comparable], second[comparable]
    agree = np.sign(reference[first] - reference[second]) == np.sign(artifact[first] - artifact[second])
    return float(agree.mean()) if agree.size else float("nan")
