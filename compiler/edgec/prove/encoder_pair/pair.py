"""The proof of an encoder for onnxruntime: its vectors against the source's in torch, on lines it has not seen.

Rule: the artifact runs on the runtime that will serve it, the source in its own framework; a miss is a failed check.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer, token_ids
from edgec.prove.checks import at_least, embedding_checks
from edgec.prove.corpus import corpus
from edgec.prove.encoder import choose_texts, compare_embeddings
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Attempt, Check, NotVerified, Proof
from edgec.prove.thresholds import Thresholds, demanded
from edgec.prove.tokens import compare_tokens
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

SCRIPT = Path(__file__).parent / "inside" / "embed.py"
TIMEOUT_S = 1800
# torch, transformers and onnxruntime beside copies of the weights; measured in docs/onnx.md.
_FIXED_MIB = 700
_COPIES = 3
# Threads that spin while they wait for each other make a busy machine slower, and the result no other.
ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
_LOG = "onnx-proof.log"
_EMBEDDINGS = "embeddings.npz"

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class EncoderPair:
    """An artifact and its source. `attempts`: the routes that were tried; `held_out_text` None: the built-in text.

    `calibrated`: lines that the artifact was calibrated or chosen on, which prove nothing.
    """

    name: str
    source: Checkpoint
    model: Path
    encoder: Encoder
    scheme: str
    settings: Prove
    held_out_text: str | None
    attempts: tuple[Attempt, ...]
    calibrated: frozenset[str]
    logs: Path

    @property
    def limits(self) -> Thresholds:
        """What is demanded."""
        return demanded(self.scheme, self.settings)


@dataclass(frozen=True)
class _Answer:
    """What the script found."""

    source: Floats
    artifact: Floats
    padded: Floats
    plain: Mapping[str, list[int]]
    complete: Mapping[str, list[int]]
    onnxruntime: str


def proof_memory_mib(float_bytes: int) -> int:
    """What the comparison needs."""
    return _FIXED_MIB + (_COPIES * float_bytes >> 20)


def prove_encoder_pair(
    pair: EncoderPair,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    script: Path = SCRIPT,
) -> Proof:
    """The proof. `scratch`: a folder. Raises InputError for a text too short, ToolError when the comparison dies."""
    files = pair.source.header.files
    whole = built_in_text() if pair.held_out_text is None else pair.held_out_text
    text = "\n".join(line for line in whole.splitlines() if line.strip() not in pair.calibrated)
    ids = token_ids(files, choose_texts(text), pair.encoder.context)
    special = encoder_tokenizer(files).get_added_tokens_decoder()
    pieces = [piece.text for piece in corpus([special[i].content for i in sorted(special)])]
    request = _request(pair, ids, pieces, scratch / _EMBEDDINGS)
    log = pair.logs / _LOG
    found = run_json(
        environment, script, request, timeout_s=TIMEOUT_S, log=log, memory_mib=memory_mib, env=ENV, report=report
    )
    answer = _answer(found, scratch / _EMBEDDINGS, pieces, texts=len(ids), log=log)
    tokens = compare_tokens(
        files["tokenizer.json"], answer.plain.__getitem__, tokenize_complete=answer.complete.__getitem__
    )
    checks = [tokens.check(), *_size_checks(pair, answer)]
    if all(check.passed for check in checks):
        checks += embedding_checks(compare_embeddings(answer.source, answer.artifact), pair.limits)
        checks += _padding_checks(answer, pair.limits)
    return Proof(
        artifact=pair.name,
        runtime=f"onnxruntime {answer.onnxruntime} (CPU)",
        checks=tuple(checks),
        attempts=pair.attempts,
        not_verified=_limits(pair, max(map(len, ids))),
    )


def _request(pair: EncoderPair, ids: Sequence[list[int]], pieces: Sequence[str], out: Path) -> dict[str, Any]:
    return {
        "checkpoint": str(pair.source.root.resolve()),
        "model": str(pair.model.resolve()),
        "texts": list(ids),
        "pooling": pair.encoder.pooling,
        "pad_id": pair.encoder.pad_id,
        "threads": usable_cores(),
        "corpus": list(pieces),
        "out": str(out.resolve()),
    }


def _answer(found: Mapping[str, Any], out: Path, pieces: Sequence[str], *, texts: int, log: Path) -> _Answer:
    """What the script found. Raises ToolError for an answer of another form."""
    try:
        with np.load(out, allow_pickle=False) as arrays:
            rows = {name: np.asarray(arrays[name]) for name in ("source", "artifact", "padded")}
        if any(array.ndim != 2 or array.shape[0] != texts for array in rows.values()):
            raise ValueError(f"embeddings of shapes {[array.shape for array in rows.values()]}")
        return _Answer(
            **rows,
            plain=dict(zip(pieces, found["plain"], strict=True)),
            complete=dict(zip(pieces, found["complete"], strict=True)),
            onnxruntime=str(found["versions"]["onnxruntime"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ToolError.of(
            f"the comparison gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
        ) from error
    finally:
        out.unlink(missing_ok=True)


def _size_checks(pair: EncoderPair, answer: _Answer) -> list[Check]:
    wanted = pair.encoder.width
    hint = "build again without the cache: the file does not come from this source"
    return [
        Check(name=name, measured=rows.shape[1], threshold=wanted, relation="==", unit="elements",
              passed=rows.shape[1] == wanted, hint=hint)
        for name, rows in (("embedding size", answer.artifact), ("embedding size of the source", answer.source))
    ]  # fmt: skip


def _padding_checks(answer: _Answer, limits: Thresholds) -> list[Check]:
    """Texts in one batch must not spoil each other: scales found at run time are those of the whole batch."""
    found = compare_embeddings(answer.source, answer.padded)
    hint = "send texts one by one or of equal lengths, choose `scheme: int8_fine`, or set prove.min_cosine"
    detail = f"{found.texts} texts, in batches with padding"
    return [
        at_least("smallest cosine in a batch", found.min_cosine, limits.min_cosine, "", detail=detail, hint=hint),
        at_least("mean cosine in a batch", found.mean_cosine, limits.min_mean_cosine, "", detail=detail, hint=hint),
    ]


def _limits(pair: EncoderPair, tokens: int) -> tuple[NotVerified, ...]:
    machine = platform.machine()
    entries = [
        NotVerified(
            what="the device's own kernels",
            why=f"the proof ran onnxruntime's kernels for {machine}, which round and saturate in their own way "
            "(integer products differ with and without dot-product instructions)",
        ),
        NotVerified(what="speed on the device", why="it was not run there"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(what=f"texts of more than {tokens} tokens", why="the proof's texts are no longer"),
    ]
    if pair.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    if pair.encoder.pooling_note is not None:
        entries.append(NotVerified(what="the model's own pooling", why=pair.encoder.pooling_note))
    return tuple(entries)
