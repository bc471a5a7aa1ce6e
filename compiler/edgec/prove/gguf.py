"""Proves a GGUF on llama.cpp: the artifact and the unquantized model side by side, on the same tokens.

Rule: a comparison that misses its threshold is a failed check, never an exception; only what keeps the proof from being
made (no text, a crash, a hang) raises. The unquantized model is checked too, since both share the converter.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.formats.gguf.model import Vocabulary
from edgec.formats.gguf.runtime.client import LlamaProcess
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.limits import known_limits
from edgec.prove.checks import divergence_checks, embedding_checks, tensor_checks
from edgec.prove.encoder import choose_texts, compare_embeddings, text_tokens
from edgec.prove.generate import answers, check_answers, check_template, samples
from edgec.prove.held_out import built_in_text, compare_windows, cut_windows
from edgec.prove.model import Check, NotVerified, Proof, Sample, TensorError
from edgec.prove.thresholds import demanded
from edgec.prove.tokens import TokenComparison, Tokenize, compare_tokens
from edgec.recipe.model import Prove

# Room for the prompts and answers of the samples; a longer window makes it longer.
_CONTEXT_TOKENS = 512


@dataclass(frozen=True)
class _Pair:
    """The two models, open."""

    artifact: LlamaProcess
    reference: LlamaProcess


@dataclass(frozen=True)
class _Findings:
    """What one part of a proof found."""

    checks: tuple[Check, ...] = ()
    not_verified: tuple[NotVerified, ...] = ()
    samples: tuple[Sample, ...] = ()


def prove_decoder(
    artifact: Path,
    reference: Path,
    *,
    name: str,
    tokenizer_files: Mapping[str, bytes],
    held_out_text: str | None,
    scheme: str,
    settings: Prove,
    vocabulary: Vocabulary,
    tensors: tuple[TensorError, ...],
    report: Reporter,
    action: str,
    logs: Path | None = None,
) -> Proof:
    """Proves a text generator against its unquantized GGUF: token ids, divergence on held-out text, greedy answers.

    `held_out_text` None: a short built-in text. `logs`: the folder for llama.cpp's output. Raises InputError
    for a text too short for one window or a chat template that cannot be rendered, ToolError when llama.cpp refuses a
    file, crashes or hangs.
    """
    limits = demanded(scheme, settings)
    text = built_in_text() if held_out_text is None else held_out_text
    with _opened(
        artifact, reference, max(_CONTEXT_TOKENS, settings.window_tokens), embeddings=False, logs=logs
    ) as pair:
        runtime = pair.artifact.info().runtime
        parts = [_same_size(pair)]
        if parts[0].checks[0].passed:
            held_out = cut_windows(pair.reference, text, settings, report)
            parts.append(_tokens(pair, tokenizer_files))
            divergence = compare_windows(pair.artifact, pair.reference, held_out, report, action)
            parts.append(_Findings(divergence_checks(divergence, held_out, limits)))
            if divergence.broken == 0:
                parts.append(_greedy(pair, artifact, vocabulary.chat_template, tokenizer_files, logs))
            parts.append(_limits_of_text(held_out_text is None, held_out.size))
    return _proof(name, runtime, tensors, parts)


def prove_encoder(
    artifact: Path,
    reference: Path,
    *,
    name: str,
    tokenizer_files: Mapping[str, bytes],
    held_out_text: str | None,
    scheme: str,
    settings: Prove,
    vocabulary: Vocabulary,
    tensors: tuple[TensorError, ...],
    report: Reporter,
    action: str,
    logs: Path | None = None,
) -> Proof:
    """Proves an encoder against its unquantized GGUF: token ids, and cosines of embeddings of lines of the text.

    Raises InputError for a text with fewer than 4 usable lines, ToolError as `prove_decoder`. The arguments are those
    of a decoder, so that a build calls either; an encoder has no use for `vocabulary` and `report`.
    """
    limits = demanded(scheme, settings)
    texts = choose_texts(built_in_text() if held_out_text is None else held_out_text)
    with _opened(artifact, reference, _CONTEXT_TOKENS, embeddings=True, logs=logs) as pair:
        runtime = pair.artifact.info().runtime
        parts = [_same_size(pair)]
        if parts[0].checks[0].passed:
            parts.append(_tokens(pair, tokenizer_files))
            ids = text_tokens(pair.reference, texts)
            agreement = compare_embeddings(pair.reference.embed(ids), pair.artifact.embed(ids))
            parts.append(_Findings(embedding_checks(agreement, limits)))
            parts.append(_limits_of_text(held_out_text is None, max(len(i) for i in ids)))
    return _proof(name, runtime, tensors, parts)


@contextmanager
def _opened(artifact: Path, reference: Path, n_ctx: int, *, embeddings: bool, logs: Path | None) -> Iterator[_Pair]:
    with (
        LlamaProcess(reference, n_ctx=n_ctx, embeddings=embeddings, logs=logs) as second,
        LlamaProcess(artifact, n_ctx=n_ctx, embeddings=embeddings, logs=logs) as first,
    ):
        yield _Pair(first, second)


def _same_size(pair: _Pair) -> _Findings:
    found, wanted = pair.artifact.info().n_vocab, pair.reference.info().n_vocab
    hint = "build again without the cache: the two files do not come from one source"
    return _Findings((
        Check(name="vocabulary size", measured=found, threshold=wanted, relation="==", unit="tokens",
              passed=found == wanted, hint=hint),
    ))  # fmt: skip


def _tokens(pair: _Pair, files: Mapping[str, bytes]) -> _Findings:
    """Token ids of both models against tokenizer.json, or what Hugging Face makes of the other tokenizer files."""
    tokenizer = oracle_json(files)
    if tokenizer is None:
        why = "the source has no tokenizer file that edgec can give Hugging Face `tokenizers`"
        return _Findings(not_verified=(NotVerified(what="token ids", why=why),))
    first, second = (_compared(process, tokenizer) for process in (pair.artifact, pair.reference))
    renamed = second.check().model_copy(update={"name": "token ids of the unquantized model"})
    return _Findings((first.check(), renamed), first.not_verified())


def _compared(llama: LlamaProcess, tokenizer: bytes) -> TokenComparison:
    def mode(add_special: bool, parse_special: bool) -> Tokenize:
        return lambda text: llama.tokenize(text, add_special, parse_special)

    return compare_tokens(
        tokenizer,
        mode(False, True),
        tokenize_text=mode(False, False),
        tokenize_complete=mode(True, True),
        limits=known_limits(tokenizer),
    )


def _greedy(
    pair: _Pair, artifact: Path, template: str | None, files: Mapping[str, bytes], logs: Path | None
) -> _Findings:
    """Answers through the chat template, and the template itself against the runtime's server."""
    found = answers(pair.artifact, pair.reference, template, files)
    if template is None:
        missing = NotVerified(what="chat template", why="the model has none; prompts were continued as plain text")
        return _Findings((check_answers(found),), (missing,), samples(found))
    return _Findings((check_template(artifact, template, files, logs=logs), check_answers(found)), (), samples(found))


def _limits_of_text(built_in: bool, tokens: int) -> _Findings:
    """What the text did not show."""
    entries = [NotVerified(what=f"texts of more than {tokens} tokens", why="the proof's texts are no longer")]
    if built_in:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    return _Findings(not_verified=tuple(entries))


def _device() -> tuple[NotVerified, ...]:
    """What no build shows, and what only the device can show."""
    return (
        NotVerified(
            what="logits against the source's own framework",
            why="the artifact is compared with the unquantized GGUF of the same conversion; conversions are tested "
            "against transformers on random models of each architecture, not on this model",
        ),
        NotVerified(what="speed on the device", why="it was not run there; the plan's range is a prediction"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(
            what="the device's own kernels",
            why=f"the proof ran llama.cpp's CPU kernels for {platform.machine()}; others round differently",
        ),
    )


def _proof(name: str, runtime: str, tensors: tuple[TensorError, ...], parts: list[_Findings]) -> Proof:
    return Proof(
        artifact=name,
        runtime=runtime,
        checks=(*(c for p in parts for c in p.checks), *tensor_checks(tensors)),
        samples=tuple(s for p in parts for s in p.samples),
        tensors=tensors,
        not_verified=(*(n for p in parts for n in p.not_verified), *_device()),
    )
