"""Which actions one read of the source makes: those a build misses, whose other inputs are there or can be made first.

Rule: nothing is made that no proof and no bundle of this build needs.
"""

from __future__ import annotations

from collections.abc import Callable

from edgec.plan.model import PROOFS, Action
from edgec.plan.plan import Plan

# Kinds of actions that read the whole source.
SOURCE_READERS = frozenset({"reference", "compile"})


def company(plan: Plan, action: Action, stored: Callable[[str], bool]) -> tuple[Action, ...]:
    """The other actions to make with `action`, in the plan's order. `stored`: whether an action's result is there.

    An importance matrix is computed on the unquantized model: who needs one cannot be made with that.
    """
    missing = _missing(plan, stored)
    return tuple(
        other
        for other in plan.actions
        if other.kind in SOURCE_READERS
        and other.name in missing - {action.name}
        and other.inputs["source"] == action.inputs["source"]
        and all(_can_come_first(plan, need, stored) for need in other.needs)
    )


def _missing(plan: Plan, stored: Callable[[str], bool]) -> set[str]:
    """The actions that the bundle and its proofs still need, directly or for one another."""
    wanted = [a.name for a in plan.actions if a.kind in PROOFS or a.kind == "bundle"]
    missing: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in missing and not stored(name):
            missing.add(name)
            wanted += plan.action(name).needs
    return missing


def _can_come_first(plan: Plan, name: str, stored: Callable[[str], bool]) -> bool:
    """Whether the action's result is there, or can be without another read of the source."""
    action = plan.action(name)
    if action.kind == "fetch" or stored(name):
        return True
    return action.kind not in SOURCE_READERS and all(_can_come_first(plan, need, stored) for need in action.needs)
