"""The proof of an image classifier for onnxruntime: its logits against the source's in torch, on held-out images.

Rule: the artifact runs on the runtime that will serve it, the source in its own framework; a miss is a failed check.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.prove.checks import at_least
from edgec.prove.classifier_pair.subject import (
    BATCH,
    SCRIPT,
    ClassifierSubject,
    classify,
    common_limits,
    logit_checks,
    size_check,
    strange_answer,
)
from edgec.prove.encoder import Floats, compare_embeddings
from edgec.prove.finer import finer_onnx
from edgec.prove.model import Check, NotVerified, Proof
from edgec.prove.thresholds import Thresholds
from edgec.toolchain.environments import Environment

_LOG = "onnx-proof.log"
_ROWS = ("source", "artifact", "batched")


@dataclass(frozen=True)
class ClassifierPair(ClassifierSubject):
    """An ONNX file, `model`, and its source."""

    model: Path


def prove_classifier_pair(
    pair: ClassifierPair,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    script: Path = SCRIPT,
) -> Proof:
    """The proof. `scratch`: a folder. Raises InputError for a broken image, ToolError when the comparison dies."""
    log = pair.logs / _LOG
    rows, versions = classify(
        pair, environment, scratch, report,
        model=pair.model, names=_ROWS, memory_mib=memory_mib, script=script, log=log,
    )  # fmt: skip
    if "onnxruntime" not in versions:
        raise strange_answer(KeyError("onnxruntime"), log)
    source, artifact = rows["source"], rows["artifact"]
    checks = [
        size_check("logits", artifact, pair.classifier),
        size_check("logits of the source", source, pair.classifier),
    ]
    if all(check.passed for check in checks):
        checks += logit_checks(source, artifact, pair.limits, finer=finer_onnx(pair.scheme))
        checks += [] if not checks[-1].passed else [_batch_check(source, rows["batched"], pair.limits)]
    return Proof(
        artifact=pair.name,
        runtime=f"onnxruntime {versions['onnxruntime']} (CPU)",
        checks=tuple(checks),
        attempts=pair.attempts,
        not_verified=(_KERNELS, *common_limits(pair, source)),
    )


_KERNELS = NotVerified(
    what="the device's own kernels",
    why=f"the proof ran onnxruntime's kernels for {platform.machine()}, which round and saturate in their own way "
    "(integer products differ with and without dot-product instructions)",
)


def _batch_check(source: Floats, batched: Floats, limits: Thresholds) -> Check:
    """Images in one batch must not spoil each other: scales found at run time are those of the whole batch."""
    found = compare_embeddings(source, batched)
    hint = "send images one by one, choose `scheme: int8_static`, or set prove.min_cosine"
    detail = f"{found.texts} images, {BATCH} at once"
    return at_least("smallest cosine in a batch", found.min_cosine, limits.min_cosine, "", detail=detail, hint=hint)
