"""The proof of an encoder for onnxruntime: its vectors against the source's in torch, on lines it has not seen.

Rule: the artifact runs on the runtime that will serve it, the source in its own framework; a miss is a failed check.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.prove.checks import at_least, embedding_checks
from edgec.prove.encoder import compare_embeddings
from edgec.prove.encoder_pair.subject import (
    SCRIPT,
    EncoderSubject,
    Floats,
    common_limits,
    embed,
    size_check,
    strange_answer,
)
from edgec.prove.model import Check, NotVerified, Proof
from edgec.prove.thresholds import Thresholds
from edgec.toolchain.environments import Environment

_LOG = "onnx-proof.log"
_ROWS = ("source", "artifact", "padded")


@dataclass(frozen=True)
class EncoderPair(EncoderSubject):
    """An ONNX file, `model`, and its source."""

    model: Path


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
    log = pair.logs / _LOG
    found = embed(
        pair, environment, scratch, report,
        model=pair.model, names=_ROWS, memory_mib=memory_mib, script=script, log=log,
    )  # fmt: skip
    if "onnxruntime" not in found.versions:
        raise strange_answer(KeyError("onnxruntime"), log)
    rows = found.rows
    checks = [
        found.tokens.check(),
        size_check("embedding size", rows["artifact"], pair.encoder),
        size_check("embedding size of the source", rows["source"], pair.encoder),
    ]
    if all(check.passed for check in checks):
        checks += embedding_checks(compare_embeddings(rows["source"], rows["artifact"]), pair.limits)
        checks += _padding_checks(rows, pair.limits)
    return Proof(
        artifact=pair.name,
        runtime=f"onnxruntime {found.versions['onnxruntime']} (CPU)",
        checks=tuple(checks),
        attempts=pair.attempts,
        not_verified=(_KERNELS, *common_limits(pair, found.longest)),
    )


_KERNELS = NotVerified(
    what="the device's own kernels",
    why=f"the proof ran onnxruntime's kernels for {platform.machine()}, which round and saturate in their own way "
    "(integer products differ with and without dot-product instructions)",
)


def _padding_checks(rows: Mapping[str, Floats], limits: Thresholds) -> list[Check]:
    """Texts in one batch must not spoil each other: scales found at run time are those of the whole batch."""
    found = compare_embeddings(rows["source"], rows["padded"])
    hint = "send texts one by one or of equal lengths, choose `scheme: int8_fine`, or set prove.min_cosine"
    detail = f"{found.texts} texts, in batches with padding"
    return [
        at_least("smallest cosine in a batch", found.min_cosine, limits.min_cosine, "", detail=detail, hint=hint),
        at_least("mean cosine in a batch", found.mean_cosine, limits.min_mean_cosine, "", detail=detail, hint=hint),
    ]
