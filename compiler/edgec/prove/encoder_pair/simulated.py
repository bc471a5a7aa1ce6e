"""The proof of an encoder that only a simulator could run: its vectors, made while it was compiled, against torch's.

Rule: what ran is the vendor's simulator in the compiling process; that is said, and so is that no device ran it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.prove.checks import embedding_checks
from edgec.prove.encoder import compare_embeddings
from edgec.prove.encoder_pair.subject import (
    SOURCE_SCRIPT,
    EncoderSubject,
    common_limits,
    embed_source,
    read_rows,
    size_check,
)
from edgec.prove.finer import finer_rknn
from edgec.prove.model import NotVerified, Proof
from edgec.toolchain.environments import Environment

_LOG = "rknn-proof.log"
_COSINES = ("smallest cosine", "mean cosine")


@dataclass(frozen=True)
class SimulatedEncoder(EncoderSubject):
    """An artifact and its source. `vectors`: the simulator's, of `proof_ids`; `toolkit`: its version."""

    vectors: Path
    toolkit: str


def prove_simulated(
    subject: SimulatedEncoder,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    script: Path = SOURCE_SCRIPT,
) -> Proof:
    """The proof. `scratch`: a folder. Raises ToolError when torch's process dies or answers something else."""
    log = subject.logs / _LOG
    texts = subject.texts()
    found, tokens = embed_source(
        subject, texts, environment, scratch, report, memory_mib=memory_mib, log=log, script=script
    )
    source = found.rows["source"]
    artifact = read_rows(subject.vectors, ("artifact",), texts=len(source), log=log)["artifact"]
    checks = [tokens.check(), size_check("embedding size", artifact, subject.encoder)]
    if all(check.passed for check in checks):
        agreed = embedding_checks(compare_embeddings(source, artifact), subject.limits)
        finer = f"{finer_rknn(subject.scheme)}, or set prove.min_cosine"
        checks += [
            check.model_copy(update={"hint": finer if check.name in _COSINES else check.hint}) for check in agreed
        ]
    return Proof(
        artifact=subject.name,
        runtime=f"rknn-toolkit2 {subject.toolkit}, its simulator of the RK3588",
        in_place_of="RKNN on the NPU",
        checks=tuple(checks),
        attempts=subject.attempts,
        not_verified=(*SIMULATED, *common_limits(subject, texts.longest)),
    )


# What is open when a simulator ran the model in the process that compiled it.
SIMULATED = (
    NotVerified(
        what="the model on the NPU",
        why="not verified on hardware: only rknn-toolkit2's simulator ran it, in the process that compiled it",
    ),
    NotVerified(
        what="the .rknn file as written",
        why="the toolkit cannot simulate a file; it was written by the process whose model was simulated, and its "
        "chip, inputs and outputs were read back",
    ),
    NotVerified(
        what="a second build with the same bytes",
        why="not reproducible: rknn-toolkit2 writes other bytes each time; another build has another digest",
    ),
)
