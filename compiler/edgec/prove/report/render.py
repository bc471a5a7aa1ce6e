"""Turns report data into the page. Rule: every text from outside is escaped, and the page requests nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgec.prove.model import NotVerified
from edgec.prove.report import charts, wording
from edgec.prove.report.model import ReportArtifact, ReportData, ReportMemory

_ENVIRONMENT = Environment(
    loader=PackageLoader("edgec.prove.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    size=wording.size,
    decimal_size=wording.decimal_size,
    mib=wording.mib,
    number=wording.number,
    percent=wording.percent,
    compact=wording.compact,
    share=lambda value: f"{value:.3f}",
)
_ENVIRONMENT.globals.update(
    count_of=wording.count_of,
    range_text=wording.range_text,
    budget_used=charts.budget_used,
    value_text=wording.near_one,
    four=lambda value: "" if value is None else f"{value:.4f}",
)


@dataclass(frozen=True)
class ArtifactView:
    """An artifact with the geometry of its charts."""

    artifact: ReportArtifact
    types: tuple[charts.Segment, ...]
    strip: charts.ErrorStrip | None
    memory: tuple[charts.Segment, ...]
    memory_limit: float
    bands: tuple[charts.Band, ...]


@dataclass(frozen=True)
class Verdict:
    """The first sentence of the page. `state` is a class of the style sheet."""

    state: Literal["good", "warn", "bad"]
    title: str
    sentences: tuple[str, ...]


def render_report(data: ReportData) -> str:
    """The report as one HTML page without scripts and without external requests. Equal data, equal bytes."""
    return _ENVIRONMENT.get_template("report.html.j2").render(
        data=data,
        verdict=_verdict(data),
        views=[_view(a) for a in data.artifacts],
        not_verified=_not_verified(data),
        # The vendors' compilers of what only their simulators ran write other bytes each time.
        is_reproducible=all(a.proof.in_place_of is None or a.is_for_engine for a in data.artifacts),
    )


def _view(artifact: ReportArtifact) -> ArtifactView:
    colours = charts.colours_of(artifact.bytes_by_type)
    highest = max((s.high_tok_s for s in artifact.speeds), default=0.0)
    memory = artifact.memory
    return ArtifactView(
        artifact=artifact,
        types=charts.type_segments(artifact.bytes_by_type, colours),
        strip=charts.error_strip(artifact.proof.tensors, colours),
        memory=() if memory is None else charts.memory_segments(memory),
        memory_limit=100.0 if memory is None else charts.memory_limit(memory),
        bands=tuple(charts.speed_band(s, highest) for s in artifact.speeds),
    )


def _verdict(data: ReportData) -> Verdict:
    checks = [c for a in data.artifacts for c in a.proof.checks]
    failed = [c for c in checks if not c.passed]
    runtimes = ", ".join(sorted({a.proof.runtime for a in data.artifacts}))
    fits = {a.memory.verdict for a in data.artifacts if a.memory is not None}
    if failed:
        names = ", ".join(dict.fromkeys(c.name for c in failed))
        proof = f"{wording.count_of(len(failed), 'check')} of {len(checks)} failed: {names}."
        return Verdict("bad", "Not proven: do not ship this", (proof, *_fit_sentences(data)))
    proof = f"{_all_of(len(checks))} passed on {runtimes}, against the unquantized model."
    if fits & {"no", "tight"}:
        title = "Proven, but it does not fit" if "no" in fits else "Proven, but memory is tight"
        return Verdict("bad" if "no" in fits else "warn", title, (proof, *_fit_sentences(data)))
    untried = [a for a in data.artifacts if a.proof.in_place_of is not None]
    if untried:
        is_simulated = any(not a.is_for_engine for a in untried)
        title = "Proven on the simulator, not verified on hardware" if is_simulated else "Proven, but for the engine"
        return Verdict("warn", title, (proof, *_untried_sentences(untried), *_fit_sentences(data)))
    return Verdict("good", "Proven against its source", (proof, *_fit_sentences(data)))


def _untried_sentences(artifacts: Sequence[ReportArtifact]) -> Iterator[str]:
    """What becomes of artifacts whose own runtime could not run here: engines are proven on the device, others not."""
    for is_for_engine in (True, False):
        runtimes = {a.proof.in_place_of for a in artifacts if a.is_for_engine is is_for_engine}
        names = ", ".join(sorted(name for name in runtimes if name is not None))
        if names and is_for_engine:
            yield f"The engine of {names} is built and compared with recorded answers on the device."
        elif names:
            yield f"{names} ran nothing of this: not verified on hardware, where results may differ."


def _all_of(count: int) -> str:
    return "The one check" if count == 1 else f"All {count} checks"


def _fit_sentences(data: ReportData) -> Iterator[str]:
    """One sentence when everything fits, else one for each artifact; named when there are several."""
    predicted = [(a.name, a.memory) for a in data.artifacts if a.memory is not None]
    if len(predicted) > 1 and all(memory.verdict == "fits" for _, memory in predicted):
        left = wording.mib(min(memory.available_mib - memory.needed_mib for _, memory in predicted))
        count = wording.count_of(len(predicted), "artifact")
        yield f"Each of the {count} is predicted to fit {data.target_title}, with at least {left} to spare."
        return
    for name, memory in predicted:
        sentence = _fit_sentence(memory, data.target_title)
        yield f"{name}: {sentence[:1].lower()}{sentence[1:]}" if len(predicted) > 1 else sentence


def _fit_sentence(memory: ReportMemory, target: str) -> str:
    left = memory.available_mib - memory.needed_mib
    if memory.verdict == "fits":
        return f"Predicted to fit {target} with {wording.mib(left)} to spare."
    if memory.verdict == "tight":
        return f"Predicted to leave only {wording.mib(left)} free on {target}."
    if left < 0:
        return f"Predicted to need {wording.mib(-left)} more than {target} has."
    return f"A limit of {target} forbids it."


def _not_verified(data: ReportData) -> list[NotVerified]:
    """What no artifact's proof covers, each once, in the order given."""
    every = [*data.not_verified, *(n for a in data.artifacts for n in a.proof.not_verified)]
    return list(dict.fromkeys(every))
