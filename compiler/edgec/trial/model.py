"""Nouns of a trial: the software a bundle is tried on, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import Diagnostic, ProofError
from edgec.prove.model import Check


@dataclass(frozen=True)
class Trial:
    """What was tried on `software`, whose versions are in `versions`."""

    software: str
    versions: str
    checks: tuple[Check, ...]
    # What it cannot have shown, though it passed.
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        checks = [check.model_dump(mode="json") for check in self.checks]
        return {
            "software": self.software, "versions": self.versions, "checks": checks, "warnings": list(self.warnings),
        }  # fmt: skip

    def as_text(self) -> str:
        """What was tried, for a person."""
        lines = [f"  tried on {self.software} ({self.versions}):"]
        for check in self.checks:
            lines.append(f"    {'pass' if check.passed else 'FAIL'}  {_line(check)}")
        lines += [f"    warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def _line(check: Check) -> str:
    return f"{check.as_text()}: {check.detail}" if check.detail else check.as_text()


def require_passed(trials: Sequence[Trial]) -> None:
    """Raises ProofError that names every check that failed; its data has all checks of all trials."""
    failed = [
        Diagnostic(f"on {trial.software}: {_line(check)}", check.hint)
        for trial in trials
        for check in trial.checks
        if not check.passed
    ]
    if failed:
        raise ProofError(*failed, data={"trials": [trial.as_json() for trial in trials]})
