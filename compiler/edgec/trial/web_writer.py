"""A language model's page against native llama.cpp on the same weights.

Rule: a token that the browser takes must natively be the likeliest, or as good as it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.prove.model import Check
from edgec.trial.verdicts import at_most, none_of
from edgec.trial.web_browser import Task, Visit
from edgec.trial.web_native import Agreement, compare_natively
from edgec.trial.web_page import Case, measured

# A text, a beginning of code, other scripts and signs.
PROMPTS = ("Docker is a tool that", "def main(arguments):\n    ", "Größe: 3 × 4 → ")
MAX_TOKENS = 12
_TOP = 10
TASK = Task(prompts=PROMPTS, max_tokens=MAX_TOKENS, top=_TOP)


@dataclass(frozen=True)
class Tolerance:
    """How far a browser may be from native llama.cpp, in nats. Measured, with room: see docs/browser.md.

    `tie`: a token that natively is so little less likely than the first is as good as it; `mean`: between the
    log-probabilities, over the likeliest tokens of every step.
    """

    tie: float
    mean: float


_FLOATS = ("f16", "f32")
EXACT = Tolerance(tie=0.01, mean=0.002)
# WebAssembly's kernels cut activations to 8 bits where others round them.
CUT = Tolerance(tie=0.1, mean=0.03)


def writer_checks(how: str, visited: Visit, case: Case) -> list[Check]:
    """What the browser wrote and how fast; nothing where the page did not get so far."""
    if len(visited.traces) != len(PROMPTS):
        return []
    agreement = compare_natively(
        case.model, visited.traces, end_tokens=visited.end_tokens, context=int(case.settings["context"]),
        threads=visited.threads, max_tokens=MAX_TOKENS, logs=case.logs, report=case.report,
    )  # fmt: skip
    found = _agreement_checks(how, agreement, case)
    return [*found, *measured(how, visited, "tokens/s", agreement.tokens_per_s)]


def _agreement_checks(how: str, agreement: Agreement, case: Case) -> list[Check]:
    hint = (
        f"{case.settings['runtime']} computes other numbers than {agreement.runtime}; try another scheme, and report it"
    )
    tolerance = EXACT if case.settings["scheme"] in _FLOATS else CUT
    beyond = [f"{where}, likelier by {gap:.3g} nats" for where, gap in agreement.misses if gap > tolerance.tie]
    ties = len(agreement.misses) - len(beyond)
    tied = f", {ties} ties within {tolerance.tie} nats," if ties else ""
    mean = sum(agreement.differences) / max(1, len(agreement.differences))
    largest = max(agreement.differences, default=0.0)
    detail = f"the largest of {len(agreement.differences)} is {largest:.3g}"
    limit = tolerance.mean
    return [
        none_of(
            f"prompts of other tokens than natively{how}", list(agreement.lengths), len(PROMPTS), "prompts", hint=hint
        ),
        none_of(f"greedy tokens other than natively{how}", beyond, agreement.steps, f"tokens{tied}", hint=hint),
        at_most(f"log-probabilities against native ones{how}", mean, limit, "nats", detail=detail, hint=hint),
    ]
