"""The proof of an image classifier that only a simulator could run: its logits, made while it was compiled.

Rule: what ran is the vendor's simulator in the compiling process; that is said, and so is that no device ran it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec.events import Reporter
from edgec.prove.classifier_pair.subject import (
    SCRIPT,
    ClassifierSubject,
    classify,
    common_limits,
    logit_checks,
    size_check,
    strange_answer,
)
from edgec.prove.encoder import Floats
from edgec.prove.encoder_pair.simulated import SIMULATED
from edgec.prove.finer import finer_rknn
from edgec.prove.model import Proof
from edgec.toolchain.environments import Environment

_LOG = "rknn-proof.log"


@dataclass(frozen=True)
class SimulatedClassifier(ClassifierSubject):
    """An artifact and its source. `logits`: the simulator's, of the held-out images; `toolkit`: its version."""

    logits: Path
    toolkit: str


def prove_simulated_classifier(
    subject: SimulatedClassifier,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    script: Path = SCRIPT,
) -> Proof:
    """The proof. `scratch`: a folder. Raises ToolError when torch's process dies or answers something else."""
    log = subject.logs / _LOG
    rows, _ = classify(
        subject, environment, scratch, report,
        model=None, names=("source",), memory_mib=memory_mib, script=script, log=log,
    )  # fmt: skip
    source, artifact = rows["source"], _simulated(subject, log)
    checks = [
        size_check("logits", artifact, subject.classifier),
        size_check("logits of the source", source, subject.classifier),
    ]
    if all(check.passed for check in checks):
        checks += logit_checks(source, artifact, subject.limits, finer=finer_rknn(subject.scheme))
    return Proof(
        artifact=subject.name,
        runtime=f"rknn-toolkit2 {subject.toolkit}, its simulator of the RK3588",
        in_place_of="RKNN on the NPU",
        checks=tuple(checks),
        attempts=subject.attempts,
        not_verified=(*SIMULATED, *common_limits(subject, source)),
    )


def _simulated(subject: SimulatedClassifier, log: Path) -> Floats:
    try:
        with np.load(subject.logits, allow_pickle=False) as arrays:
            rows = [np.ravel(arrays[f"{number}/0"]) for number in range(len(subject.held_out.paths))]
        return np.stack(rows)
    except (OSError, ValueError, KeyError) as error:
        raise strange_answer(error, log) from error
