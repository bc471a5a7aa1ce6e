"""Checks of a trial: what was measured on the running software, and how it must be."""

from __future__ import annotations

from edgec.prove.model import Check


def at_most(name: str, measured: float, limit: float, unit: str, *, detail: str = "", hint: str) -> Check:
    """`measured` must not be above `limit`."""
    return Check(
        name=name, measured=measured, threshold=limit, relation="<=", unit=unit, passed=measured <= limit,
        detail=detail, hint=hint,
    )  # fmt: skip


def at_least(name: str, measured: float, limit: float, unit: str, *, detail: str = "", hint: str) -> Check:
    """`measured` must not be below `limit`."""
    return Check(
        name=name, measured=measured, threshold=limit, relation=">=", unit=unit, passed=measured >= limit,
        detail=detail, hint=hint,
    )  # fmt: skip


def none_of(name: str, failures: list[str], tried: int, what: str, *, hint: str) -> Check:
    """Nothing of what was tried may fail; `failures` says how, one line each."""
    return Check(
        name=name, measured=len(failures), threshold=0, relation="==", unit=f"{what} of {tried}",
        passed=not failures, detail="; ".join(failures), hint=hint,
    )  # fmt: skip


def not_judged(name: str, why: str) -> Check:
    """Nothing failed, but nothing was shown either; `why` stands in the name, which people see."""
    return Check(name=f"{name}, not judged ({why})", measured=0, threshold=0, relation="==", unit="failed", passed=True)
