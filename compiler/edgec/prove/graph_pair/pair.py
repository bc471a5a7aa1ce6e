"""The proof of a graph: each of its outputs beside the source's, on samples it was not calibrated on.

Rule: the source is the user's file as it is, not what was made ready of it; a miss is a failed check.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.formats.candidates import Demand
from edgec.formats.onnx.agreement import FAINT, OutputAgreement
from edgec.formats.onnx.graph_run import Compared, compare_graphs
from edgec.prove.checks import at_least, at_most
from edgec.prove.finer import finer_onnx
from edgec.prove.model import Attempt, Check, NotVerified, Proof
from edgec.prove.thresholds import demanded
from edgec.recipe.model import Prove
from edgec.toolchain.environments import Environment

_LOG = "graph-proof.log"
# In 8 bits, and in floats by their scheme.
_MIN_FIRST, _MIN_FIRST_FLOAT = 0.95, {"fp32": 0.999, "fp16": 0.98}
# Of the errors' squares; where outputs are centred it is twice what their cosine lacks of 1. In 8 bits, and by scheme;
# docs/onnx.md says where they come from. An artifact that gives one answer to all samples has 1, one that swaps them 2.
_MAX_ERROR_SHARE, _MAX_ERROR_SHARE_OF = 0.1, {"fp32": 0.001, "fp16": 0.01}
_HIGHEST_ERROR_SHARE = 0.5
MORE_SAMPLES = "calibrate on more samples of the model's use, or set prove.min_cosine"
_BROKEN = "the graph gives what the source does not: choose another scheme; the log of the build has more"

_RESIZED = (
    "an output's size depends on the data, as after NonZero or NonMaxSuppression, and a number that moved a little "
    "makes it another: end the model before that operation, and leave it to the program around the model"
)


@dataclass(frozen=True)
class GraphSubject:
    """An artifact, `model`, and the file it was made of, `source`. `samples`: files; `by_chance`: whether they are
    numbers by chance; `dropped`: held-out samples that were calibrated on, which prove nothing."""

    name: str
    model: Path
    source: Path
    scheme: str
    settings: Prove
    samples: Sequence[str]
    by_chance: bool
    dropped: int
    attempts: tuple[Attempt, ...]
    logs: Path


def graph_limits(scheme: str, settings: Prove) -> Demand:
    """What is demanded of an artifact in `scheme`."""
    limits = demanded(scheme, settings)
    default = _MIN_FIRST_FLOAT.get(scheme, _MIN_FIRST)
    share = _MAX_ERROR_SHARE_OF.get(scheme, _MAX_ERROR_SHARE)
    if settings.min_cosine is not None:
        share = max(share, min(_HIGHEST_ERROR_SHARE, 2 * (1 - settings.min_cosine)))
    return Demand(
        limits.min_mean_cosine,
        limits.min_cosine,
        first=default if settings.min_top1 is None else settings.min_top1,
        error_share=share,
    )


def prove_graph(
    subject: GraphSubject, environment: Environment, scratch: Path, report: Reporter, *, memory_mib: int
) -> Proof:
    """The proof. `scratch`: a folder. Raises ToolError when the comparison dies or answers something else."""
    compared = compare_graphs(
        environment, subject.source, subject.model, subject.samples, scratch,
        memory_mib=memory_mib, report=report, log=subject.logs / _LOG,
    )  # fmt: skip
    finer = f"{finer_onnx(subject.scheme)}, {MORE_SAMPLES}"
    return Proof(
        artifact=subject.name,
        runtime=f"onnxruntime {compared.runtime} (CPU)",
        checks=tuple(graph_checks(compared, graph_limits(subject.scheme, subject.settings), finer)),
        attempts=subject.attempts,
        not_verified=tuple(_limits(subject, compared)),
    )


def graph_checks(compared: Compared, limits: Demand, finer: str) -> Iterator[Check]:
    """Each output beside the source's. `finer`: what to do about a miss."""
    outputs = compared.agreement.outputs
    broken = _RESIZED if any(output.other_shape for output in outputs) else _BROKEN
    yield at_most("outputs not finite, or of another shape", sum(o.broken for o in outputs), 0, "samples", hint=broken)
    hint = "the source ignores its inputs, or all samples are the same: give different ones in prove.held_out"
    yield at_least("different answers of the source", compared.different, 2, "", hint=hint)
    for output in outputs:
        yield from _output_checks(output, limits, finer, f" of {output.name}" if len(outputs) > 1 else "")
    first, equal = compared.agreement.first, compared.agreement.equal
    first_hint = finer.replace("min_cosine", "min_top1")
    if first is not None:
        yield at_least("top-1 agreement", first, limits.first, "of samples", hint=first_hint)
    if equal is not None:
        yield at_least("equal whole numbers", equal, limits.first, "of the outputs' elements", hint=first_hint)


def _output_checks(output: OutputAgreement, limits: Demand, finer: str, of: str) -> Iterator[Check]:
    if output.min_cosine is None or output.mean_cosine is None:
        return
    detail = f"{output.samples} samples; mean relative error {output.mean_error:.2g}"
    yield at_least(f"smallest cosine{of}", output.min_cosine, limits.min_cosine, "", detail=detail, hint=finer)
    yield at_least(f"mean cosine{of}", output.mean_cosine, limits.mean_cosine, "", detail=detail, hint=finer)
    if output.error_share is not None and limits.error_share is not None:
        # A cosine near 1 says little where all samples have nearly the same answer.
        name, hint = (
            f"errors beside the samples' own differences{of}",
            f"{finer}; where the samples hardly differ, give",
        )
        yield at_most(
            name, output.error_share, limits.error_share, "of their squares", hint=f"{hint} others in prove.held_out"
        )
    for part in output.judged[1:] if len(output.parts) > 1 else ():
        detail = f"over all samples; the largest is {part.peak:.3g}, and {output.parts[0].peak:.3g} elsewhere in it"
        yield at_least(
            f"cosine{of} where values are at most {part.peak:.2g}", part.cosine, limits.min_cosine, "",
            detail=f"{part.channels} channels; {detail}", hint=finer,
        )  # fmt: skip


def _limits(subject: GraphSubject, compared: Compared) -> Iterator[NotVerified]:
    yield NotVerified(
        what="the device's own kernels",
        why=f"the proof ran onnxruntime's kernels for {platform.machine()}, which round and saturate in their own way "
        "(integer products differ with and without dot-product instructions)",
    )
    yield NotVerified(what="speed on the device", why="it was not run there")
    yield NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction")
    yield from sample_limits(subject, compared)


def sample_limits(subject: GraphSubject, compared: Compared) -> Iterator[NotVerified]:
    """What the samples do not show, whatever ran the artifact."""
    yield NotVerified(
        what="what a program makes of the outputs",
        why="boxes, classes and thresholds are the program's; the outputs' numbers were compared",
    )
    if subject.by_chance:
        yield NotVerified(
            what="inputs of the model's use", why="no held-out samples were given (prove.held_out); numbers by chance"
        )
    if subject.dropped:
        why = "the model was calibrated on them too, so that they prove nothing and were left out"
        yield NotVerified(what=f"{subject.dropped} held-out samples", why=why)
    faint = {o.name: o.parts[len(o.judged) :] for o in compared.agreement.outputs}
    for name, parts in faint.items():
        if parts:
            count = sum(part.channels for part in parts)
            why = f"they stay below {FAINT:g} on all samples, beside larger ones: give samples in which they are seen"
            yield NotVerified(what=f"{count} channels of {name}", why=why)
