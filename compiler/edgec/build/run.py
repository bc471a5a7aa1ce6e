"""Runs a plan: the only place with effects. Goes from the goal backwards, so that only what is missing runs.

Rule: a step's result is used only after it was committed to the store; the same action never runs twice at once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from edgec.build.context import StepContext
from edgec.build.gguf_steps import run_compile, run_imatrix, run_prove, run_reference
from edgec.errors import EdgecError
from edgec.events import ActionFinished, ActionStarted, Note, Reporter
from edgec.plan.model import Action
from edgec.plan.plan import Plan
from edgec.store.actions import ActionStore, Result, Workspace

Step = Callable[[StepContext, Action, Workspace], Result]

STEPS: Mapping[str, Step] = {
    "reference": run_reference,
    "imatrix": run_imatrix,
    "compile": run_compile,
    "prove": run_prove,
}


@dataclass
class Runner:
    """Runs actions of one plan on demand and remembers their results, which stay in the store until it is left.

    Use as a context manager.
    """

    plan: Plan
    store: ActionStore
    report: Reporter
    digest_file: Callable[[Path], str]
    logs: Path
    _results: dict[str, Result] = field(default_factory=dict)
    _context: StepContext | None = None
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._held.close()

    @property
    def context(self) -> StepContext:
        """The context the steps of this run share."""
        if self._context is None:
            self._context = StepContext(self.plan, self.report, self.digest_file, self.result, self.logs)
        return self._context

    def result(self, name: str) -> Result:
        """The result of the action `name`, from memory, from the store, or by running it."""
        if name not in self._results:
            action = self.plan.action(name)
            # Before the look into the store, so that no `edgec clean` comes between.
            self._held.enter_context(self.store.in_use(action.key))
            stored = self.store.lookup(action.key)
            if stored is None:
                stored = self._make(action)
            else:
                self.report(ActionFinished(name, action.kind, cached=True, wall_s=0.0))
            self._results[name] = stored
        return self._results[name]

    def discard(self, file: Path) -> bool:
        """Forgets the stored result that holds the damaged `file`, and its proof; False if no result of this run does.

        The next `result` of them makes them again: what the damaged file was good for is not known any more.
        """
        name = next((n for n, r in self._results.items() if r.folder == file.parent), None)
        if name is None:
            return False
        self.report(Note(f"{name}: {file} changed on the disk since it was made; it is made again", "warning"))
        for action in self.plan.actions:
            if action.name in self._results and (action.name == name or name in action.needs):
                self.store.discard(action.key)
                del self._results[action.name]
        return True

    def _make(self, action: Action) -> Result:
        try:
            return self._run(action)
        except EdgecError:
            # A model that rotted on the disk fails in many ways, also as a bad proof. Hashed only now: it takes time.
            damaged = [f for n in action.needs if n in self._results for f in self._results[n].damaged_files()]
            if not damaged:
                raise
        for file in damaged:
            self.discard(file)
        # Once: a disk that spoils the same file again is a matter for a person.
        return self._run(action)

    def _run(self, action: Action) -> Result:
        # Inputs first, so that no lock is held while another action runs.
        if action.kind in ("reference", "compile"):
            self.context.checkpoint()
        for need in action.needs:
            if self.plan.action(need).kind != "fetch":
                self.result(need)
        with self.store.work(action.key, waiting=lambda: self._waiting(action)) as work:
            if isinstance(work, Result):
                self.report(ActionFinished(action.name, action.kind, cached=True, wall_s=0.0))
                return work
            self.report(ActionStarted(action.name, action.kind, action.reason))
            started = time.monotonic()
            result = STEPS[action.kind](self.context, action, work)
            self.report(ActionFinished(action.name, action.kind, cached=False, wall_s=time.monotonic() - started))
            return result

    def _waiting(self, action: Action) -> None:
        self.report(Note(f"{action.name}: another build is at work on it; waiting for its result"))
