"""What a proof is about, and what the proofs of all kinds of model have in common.

Rule: a comparison that misses its threshold is a failed check, never an exception; only what keeps the proof from being
made (no text, a crash, a hang) raises. The unquantized model is checked too, since both share the converter.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgec.formats.gguf.model import Vocabulary
from edgec.formats.gguf.runtime.client import LlamaProcess
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.limits import known_limits
from edgec.prove.checks import tensor_checks
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Check, NotVerified, Proof, Sample, TensorError
from edgec.prove.thresholds import Thresholds, demanded
from edgec.prove.tokens import TokenComparison, Tokenize, compare_tokens
from edgec.recipe.model import Prove


@dataclass(frozen=True)
class Subject:
    """An artifact and its unquantized GGUF, with all that is needed to compare them.

    `held_out_text` None: a short built-in text. `logs`: the folder for llama.cpp's output.
    """

    name: str
    artifact: Path
    reference: Path
    tokenizer_files: Mapping[str, bytes]
    held_out_text: str | None
    scheme: str
    settings: Prove
    vocabulary: Vocabulary
    tensors: tuple[TensorError, ...]
    logs: Path | None = None

    @property
    def text(self) -> str:
        """The text to prove on."""
        return built_in_text() if self.held_out_text is None else self.held_out_text

    @property
    def limits(self) -> Thresholds:
        """What is demanded."""
        return demanded(self.scheme, self.settings)


@dataclass(frozen=True)
class Pair:
    """The two models, open."""

    artifact: LlamaProcess
    reference: LlamaProcess


@dataclass(frozen=True)
class Findings:
    """What one part of a proof found."""

    checks: tuple[Check, ...] = ()
    not_verified: tuple[NotVerified, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check held."""
        return all(check.passed for check in self.checks)


@contextmanager
def opened(subject: Subject, n_ctx: int, *, embeddings: bool) -> Iterator[Pair]:
    """Both models in llama.cpp with a context of `n_ctx` tokens."""
    with (
        LlamaProcess(subject.reference, n_ctx=n_ctx, embeddings=embeddings, logs=subject.logs) as second,
        LlamaProcess(subject.artifact, n_ctx=n_ctx, embeddings=embeddings, logs=subject.logs) as first,
    ):
        yield Pair(first, second)


def same_size(pair: Pair) -> Findings:
    """Whether both have one vocabulary size; without that nothing else can be compared."""
    found, wanted = pair.artifact.info().n_vocab, pair.reference.info().n_vocab
    hint = "build again without the cache: the two files do not come from one source"
    return Findings((
        Check(name="vocabulary size", measured=found, threshold=wanted, relation="==", unit="tokens",
              passed=found == wanted, hint=hint),
    ))  # fmt: skip


def token_findings(pair: Pair, files: Mapping[str, bytes]) -> Findings:
    """Token ids of both models against tokenizer.json, or what Hugging Face makes of the other tokenizer files."""
    tokenizer = oracle_json(files)
    if tokenizer is None:
        why = "the source has no tokenizer file that edgec can give Hugging Face `tokenizers`"
        return Findings(not_verified=(NotVerified(what="token ids", why=why),))
    first, second = (_compared(process, tokenizer) for process in (pair.artifact, pair.reference))
    renamed = second.check().model_copy(update={"name": "token ids of the unquantized model"})
    return Findings((first.check(), renamed), first.not_verified())


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


def limits_of_text(subject: Subject, tokens: int) -> Findings:
    """What texts of at most `tokens` tokens did not show."""
    entries = [NotVerified(what=f"texts of more than {tokens} tokens", why="the proof's texts are no longer")]
    if subject.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    return Findings(not_verified=tuple(entries))


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


def proof_of(subject: Subject, runtime: str, parts: list[Findings]) -> Proof:
    """All parts put together, with what no build can verify."""
    return Proof(
        artifact=subject.name,
        runtime=runtime,
        checks=(*(c for p in parts for c in p.checks), *tensor_checks(subject.tensors)),
        samples=tuple(s for p in parts for s in p.samples),
        tensors=subject.tensors,
        not_verified=(*(n for p in parts for n in p.not_verified), *_device()),
    )
