"""The proof of an encoder for onnxruntime: its vectors, or a reranker's scores, against the source's in torch.

Rule: the artifact runs on the runtime that will serve it, the source in its own framework; a miss is a failed check.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.prove.checks import at_least, at_most, embedding_checks, score_checks
from edgec.prove.encoder import compare_embeddings
from edgec.prove.encoder_pair.subject import (
    ARTIFACT_SCRIPT,
    SOURCE_SCRIPT,
    EncoderSubject,
    Floats,
    common_limits,
    embed_artifact,
    embed_source,
    size_check,
    strange_answer,
)
from edgec.prove.encoder_pair.texts import ProofTexts
from edgec.prove.model import Check, NotVerified, Proof
from edgec.prove.reranker import compare_scores
from edgec.prove.thresholds import Thresholds
from edgec.toolchain.environments import Environment

_LOG, _ARTIFACT_LOG = "onnx-proof.log", "onnx-proof-artifact.log"
_ROWS = ("source", "artifact", "padded")


@dataclass(frozen=True)
class EncoderPair(EncoderSubject):
    """An ONNX file, `model`, and its source."""

    model: Path


def prove_encoder_pair(
    pair: EncoderPair,
    environments: tuple[Environment, Environment],
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    source_script: Path = SOURCE_SCRIPT,
    artifact_script: Path = ARTIFACT_SCRIPT,
) -> Proof:
    """The proof. `environments`: of the artifact and of the source; `scratch`: a folder.

    Raises InputError for a text too short, ToolError when the comparison dies.
    """
    environment, source_environment = environments
    log = pair.logs / _LOG
    texts = pair.texts()
    found, tokens = embed_source(
        pair, texts, source_environment, scratch, report, memory_mib=memory_mib, log=log, script=source_script
    )
    run = embed_artifact(
        pair, texts, environment, scratch, report,
        model=pair.model, memory_mib=memory_mib, log=log.with_name(_ARTIFACT_LOG), script=artifact_script,
    )  # fmt: skip
    if "onnxruntime" not in run.versions:
        raise strange_answer(KeyError("onnxruntime"), log)
    rows = {**found.rows, **run.rows}
    what = "scores of a pair" if pair.encoder.kind == "reranker" else "embedding size"
    checks = [
        tokens.check(),
        size_check(what, rows["artifact"], pair.encoder),
        size_check(f"{what} of the source", rows["source"], pair.encoder),
    ]
    if all(check.passed for check in checks):
        compared = _score_checks if pair.encoder.kind == "reranker" else _embedding_checks
        checks += compared(texts, rows, pair.limits)
    return Proof(
        artifact=pair.name,
        runtime=f"onnxruntime {run.versions['onnxruntime']} (CPU)",
        checks=tuple(checks),
        attempts=pair.attempts,
        not_verified=(_KERNELS, *common_limits(pair, texts.longest)),
    )


_KERNELS = NotVerified(
    what="the device's own kernels",
    why=f"the proof ran onnxruntime's kernels for {platform.machine()}, which round and saturate in their own way "
    "(integer products differ with and without dot-product instructions)",
)


_IN_BATCHES = "send texts one by one or of equal lengths, choose `scheme: int8_fine`, or set "


def _embedding_checks(texts: ProofTexts, rows: Mapping[str, Floats], limits: Thresholds) -> list[Check]:
    """Of single texts, and of batches: texts must not spoil each other by scales that are found for all of them."""
    found = compare_embeddings(rows["source"], rows["padded"])
    hint, detail = f"{_IN_BATCHES}prove.min_cosine", f"{found.texts} texts, in batches with padding"
    return [
        *embedding_checks(compare_embeddings(rows["source"], rows["artifact"]), limits),
        at_least("smallest cosine in a batch", found.min_cosine, limits.min_cosine, "", detail=detail, hint=hint),
        at_least("mean cosine in a batch", found.mean_cosine, limits.min_mean_cosine, "", detail=detail, hint=hint),
    ]


def _score_checks(texts: ProofTexts, rows: Mapping[str, Floats], limits: Thresholds) -> list[Check]:
    """The same of scores of pairs."""
    source, single, padded = (rows[name][:, 0] for name in _ROWS)
    found = compare_scores(texts.pairs, source, padded)
    hint, detail = f"{_IN_BATCHES}prove.max_score_error", f"{found.pairs} pairs, in batches with padding"
    return [
        *score_checks(compare_scores(texts.pairs, source, single), limits),
        at_most(
            "score error in a batch", found.error, limits.max_score_error, "of the spread", detail=detail, hint=hint
        ),
        at_least(
            "same order in a batch", found.same_order, limits.min_same_order, "of documents", detail=detail, hint=hint
        ),
    ]
