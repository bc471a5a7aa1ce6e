"""The proof of a user's graph that only a simulator could run: its outputs, made while it was compiled.

Rule: what ran is the vendor's simulator in the compiling process; that is said, and so is that no device ran it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.formats.onnx.recorded_run import compare_recorded
from edgec.prove.encoder_pair.simulated import SIMULATED
from edgec.prove.finer import finer_rknn
from edgec.prove.graph_pair.pair import MORE_SAMPLES, GraphSubject, graph_checks, graph_limits, sample_limits
from edgec.prove.model import Proof
from edgec.toolchain.environments import Environment

_LOG = "rknn-graph-proof.log"


@dataclass(frozen=True)
class SimulatedGraph(GraphSubject):
    """An artifact and its source. `recorded`: the simulator's outputs for the samples; `toolkit`: its version."""

    recorded: Path
    toolkit: str


def prove_simulated_graph(
    subject: SimulatedGraph, environment: Environment, scratch: Path, report: Reporter, *, memory_mib: int
) -> Proof:
    """The proof. `scratch`: a folder. Raises ToolError when onnxruntime's process dies or answers something else."""
    compared = compare_recorded(
        environment, subject.source, subject.recorded, subject.samples, scratch,
        memory_mib=memory_mib, report=report, log=subject.logs / _LOG,
    )  # fmt: skip
    finer = f"{finer_rknn(subject.scheme)}, {MORE_SAMPLES}"
    return Proof(
        artifact=subject.name,
        runtime=f"rknn-toolkit2 {subject.toolkit}, its simulator of the RK3588",
        in_place_of="RKNN on the NPU",
        checks=tuple(graph_checks(compared, graph_limits(subject.scheme, subject.settings), finer)),
        attempts=subject.attempts,
        not_verified=(*SIMULATED, *sample_limits(subject, compared)),
    )
