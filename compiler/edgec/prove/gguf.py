"""Proves a GGUF on llama.cpp: the artifact and the unquantized model side by side, on the same tokens.

Rule: one function per kind of model, in one table; see `subject` for what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgec.events import Reporter
from edgec.formats.gguf.model import ModelKind
from edgec.prove.checks import divergence_checks, embedding_checks, score_checks
from edgec.prove.encoder import choose_texts, compare_embeddings, text_tokens
from edgec.prove.generate import answers, check_answers, check_template, samples
from edgec.prove.held_out import compare_windows, cut_windows
from edgec.prove.model import NotVerified, Proof
from edgec.prove.reranker import choose_pairs, compare_scores, pair_tokens
from edgec.prove.subject import Findings, Pair, Subject, limits_of_text, opened, proof_of, same_size, token_findings

# Room for the prompts and answers of the samples; a longer window makes it longer.
_CONTEXT_TOKENS = 512

Prover = Callable[[Subject, Reporter, str], Proof]


def prove_gguf(kind: ModelKind, subject: Subject, report: Reporter, action: str) -> Proof:
    """The proof of `subject`, a model of this kind.

    Raises InputError for a text too short to prove on or a chat template that cannot be rendered, ToolError when
    llama.cpp refuses a file, crashes or hangs.
    """
    return _PROVERS[kind](subject, report, action)


def _prove_decoder(subject: Subject, report: Reporter, action: str) -> Proof:
    """Token ids, divergence on held-out text, greedy answers, the chat template."""
    with opened(subject, max(_CONTEXT_TOKENS, subject.settings.window_tokens), embeddings=False) as pair:
        runtime = pair.artifact.info().runtime
        parts = [same_size(pair)]
        if parts[0].passed:
            held_out = cut_windows(pair.reference, subject.text, subject.settings, report)
            parts.append(token_findings(pair, subject.tokenizer_files))
            divergence = compare_windows(pair.artifact, pair.reference, held_out, report, action)
            parts.append(Findings(divergence_checks(divergence, held_out, subject.limits)))
            if divergence.broken == 0:
                parts.append(_greedy(pair, subject))
            parts.append(limits_of_text(subject, held_out.size))
    return proof_of(subject, runtime, parts)


def _greedy(pair: Pair, subject: Subject) -> Findings:
    """Answers through the chat template, and the template itself against the runtime's server."""
    template, files = subject.vocabulary.chat_template, subject.tokenizer_files
    found = answers(pair.artifact, pair.reference, template, files)
    if template is None:
        missing = NotVerified(what="chat template", why="the model has none; prompts were continued as plain text")
        return Findings((check_answers(found),), (missing,), samples(found))
    same = check_template(subject.artifact, template, files, logs=subject.logs)
    return Findings((same, check_answers(found)), (), samples(found))


def _prove_encoder(subject: Subject, _report: Reporter, _action: str) -> Proof:
    """Token ids, and cosines of embeddings of at least 4 lines of the text."""
    texts = choose_texts(subject.text)
    with opened(subject, _CONTEXT_TOKENS, embeddings=True) as pair:
        runtime = pair.artifact.info().runtime
        parts = [same_size(pair)]
        if parts[0].passed:
            parts.append(token_findings(pair, subject.tokenizer_files))
            ids = text_tokens(pair.reference, texts)
            agreement = compare_embeddings(pair.reference.embed(ids), pair.artifact.embed(ids))
            parts.append(Findings(embedding_checks(agreement, subject.limits)))
            parts.append(limits_of_text(subject, max(len(i) for i in ids)))
    return proof_of(subject, runtime, parts)


def _prove_reranker(subject: Subject, _report: Reporter, _action: str) -> Proof:
    """Token ids, also of pairs, and the scores of queries and documents cut from the text."""
    pairs = choose_pairs(subject.text)
    with opened(subject, _CONTEXT_TOKENS, embeddings=True) as pair:
        runtime = pair.artifact.info().runtime
        parts = [same_size(pair)]
        if parts[0].passed:
            parts.append(token_findings(pair, subject.tokenizer_files))
            ids, same = pair_tokens(pair.reference, pairs, subject.vocabulary.rerank_template, subject.tokenizer_files)
            parts.append(Findings((same,)))
            scores = compare_scores(pairs, pair.reference.embed(ids)[:, 0], pair.artifact.embed(ids)[:, 0])
            parts.append(Findings(score_checks(scores, subject.limits)))
            parts.append(limits_of_text(subject, max(len(i) for i in ids)))
    return proof_of(subject, runtime, parts)


_PROVERS: Mapping[ModelKind, Prover] = {
    "decoder": _prove_decoder,
    "encoder": _prove_encoder,
    "reranker": _prove_reranker,
}
