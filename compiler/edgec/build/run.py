"""Runs a plan: the only place with effects. Goes from the goal backwards, so that only what is missing runs.

Rule: a step's result is used only after it was committed to the store; the same action never runs twice at once; who
holds an action never waits for another.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from edgec.build.classifier_steps import run_classifier_export, run_classifier_prove, run_classifier_quantize
from edgec.build.context import StepContext
from edgec.build.emulate_step import prepare_emulation, run_emulate
from edgec.build.engine_steps import run_checkpoint, run_compare, run_export, run_quantize, run_ranges
from edgec.build.gguf_steps import run_compiles, run_imatrix, run_prove
from edgec.build.one_read import SOURCE_READERS, company
from edgec.build.onnx_decoder_steps import run_onnx_decoder, run_onnx_decoder_prove
from edgec.build.onnx_graph_steps import run_graph_prepare, run_graph_prove, run_graph_quantize
from edgec.build.onnx_steps import run_onnx_export, run_onnx_prove, run_onnx_quantize
from edgec.build.rkllm_steps import run_rkllm_build, run_rkllm_prove
from edgec.build.rknn_classifier_steps import run_rknn_classifier_build, run_rknn_classifier_prove
from edgec.build.rknn_graph_steps import run_rknn_graph_build, run_rknn_graph_prove
from edgec.build.rknn_steps import run_rknn_build, run_rknn_prove
from edgec.build.runtime_step import run_runtime
from edgec.build.wheels_step import run_wheels
from edgec.errors import EdgecError
from edgec.events import ActionFinished, ActionStarted, Note, Reporter
from edgec.plan.model import Action
from edgec.plan.plan import Plan
from edgec.store.actions import ActionStore, Result, Workspace

Step = Callable[[StepContext, Action, Workspace], Result]

STEPS: Mapping[str, Step] = {
    "checkpoint": run_checkpoint,
    "classifier_export": run_classifier_export,
    "classifier_prove": run_classifier_prove,
    "classifier_quantize": run_classifier_quantize,
    "compare": run_compare,
    "emulate": run_emulate,
    "export": run_export,
    "graph_prepare": run_graph_prepare,
    "graph_prove": run_graph_prove,
    "graph_quantize": run_graph_quantize,
    "imatrix": run_imatrix,
    "onnx_decoder": run_onnx_decoder,
    "onnx_decoder_prove": run_onnx_decoder_prove,
    "onnx_export": run_onnx_export,
    "onnx_prove": run_onnx_prove,
    "onnx_quantize": run_onnx_quantize,
    "prove": run_prove,
    "quantize": run_quantize,
    "ranges": run_ranges,
    "rkllm_build": run_rkllm_build,
    "rkllm_prove": run_rkllm_prove,
    "rknn_build": run_rknn_build,
    "rknn_classifier_build": run_rknn_classifier_build,
    "rknn_classifier_prove": run_rknn_classifier_prove,
    "rknn_graph_build": run_rknn_graph_build,
    "rknn_graph_prove": run_rknn_graph_prove,
    "rknn_prove": run_rknn_prove,
    "runtime": run_runtime,
    "wheels": run_wheels,
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
    toolchains: Path
    _results: dict[str, Result] = field(default_factory=dict)
    _context: StepContext | None = None
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _held_keys: set[str] = field(default_factory=set)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._held.close()

    def install_toolchains(self) -> None:
        """Installs what steps to come run tools in: found out now, not after hours of quantizing. Raises ToolError."""
        for name in self.plan.toolchains:
            self.context.environment(name)
        prepare_emulation(self.context)

    @property
    def context(self) -> StepContext:
        """The context the steps of this run share."""
        if self._context is None:
            self._context = StepContext(
                self.plan, self.report, self.digest_file, self.result, self.logs, self.toolchains
            )
        return self._context

    def result(self, name: str) -> Result:
        """The result of the action `name`, from memory, from the store, or by running it."""
        if name not in self._results:
            action = self.plan.action(name)
            stored = self._lookup(action)
            if stored is None:
                stored = self._make(action)
            else:
                self.report(ActionFinished(name, action.kind, cached=True, wall_s=0.0))
            self._results[name] = stored
        return self._results[name]

    def _lookup(self, action: Action) -> Result | None:
        # Held before the look, so that no `edgec clean` comes between.
        if action.key not in self._held_keys:
            self._held.enter_context(self.store.in_use(action.key))
            self._held_keys.add(action.key)
        return self.store.lookup(action.key)

    def _is_there(self, name: str) -> bool:
        return name in self._results or self._lookup(self.plan.action(name)) is not None

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
        run = self._read_source if action.kind in SOURCE_READERS else self._run
        try:
            return run(action)
        except EdgecError:
            # A model that rotted on the disk fails in many ways, also as a bad proof. Hashed only now: it takes time.
            needs = {n for a in (action, *self._company(action)) for n in a.needs if n in self._results}
            damaged = [f for n in sorted(needs) for f in self._results[n].damaged_files()]
            if not damaged:
                raise
        for file in damaged:
            self.discard(file)
        # Once: a disk that spoils the same file again is a matter for a person.
        return run(action)

    def _run(self, action: Action) -> Result:
        # Inputs first, so that no lock is held while another action runs.
        self._make_needs(action)
        with self.store.work(action.key, waiting=lambda: self._waiting(action)) as work:
            if isinstance(work, Result):
                self.report(ActionFinished(action.name, action.kind, cached=True, wall_s=0.0))
                return work
            self.report(ActionStarted(action.name, action.kind, action.reason))
            started = time.monotonic()
            result = STEPS[action.kind](self.context, action, work)
            self.report(ActionFinished(action.name, action.kind, cached=False, wall_s=time.monotonic() - started))
            return result

    def _read_source(self, action: Action) -> Result:
        """Makes `action`, and with the same read what else this build has to make of the source."""
        self.context.checkpoint()
        for one in (action, *self._company(action)):
            self._make_needs(one)
        if action.name in self._results:
            # Something it needs had to be made of the source again, and it with that.
            return self._results[action.name]
        with contextlib.ExitStack() as locks:
            work = locks.enter_context(self.store.work(action.key, waiting=lambda: self._waiting(action)))
            if isinstance(work, Result):
                self.report(ActionFinished(action.name, action.kind, cached=True, wall_s=0.0))
                return work
            works = [(action, work)]
            for other in self._company(action):
                free = locks.enter_context(self.store.work_unless_held(other.key))
                # What another build makes or has made meanwhile is asked for when it is needed.
                if isinstance(free, Workspace) and all(self._is_there(n) for n in self._inputs(other)):
                    works.append((other, free))
            self._results |= self._run_together(works)
        return self._results[action.name]

    def _run_together(self, works: Sequence[tuple[Action, Workspace]]) -> dict[str, Result]:
        actions = sorted((action for action, _ in works), key=self.plan.actions.index)
        if len(actions) > 1:
            self.report(Note(f"one read of the source makes {', '.join(a.name for a in actions)}"))
        for action in actions:
            self.report(ActionStarted(action.name, action.kind, action.reason))
        started = time.monotonic()
        results = run_compiles(self.context, works)
        for action in actions:
            self.report(ActionFinished(action.name, action.kind, cached=False, wall_s=time.monotonic() - started))
        return results

    def _company(self, action: Action) -> tuple[Action, ...]:
        return company(self.plan, action, self._is_there) if action.kind in SOURCE_READERS else ()

    def _inputs(self, action: Action) -> list[str]:
        """The actions whose results it uses; what was fetched is no result in the store."""
        return [n for n in action.needs if self.plan.action(n).kind != "fetch"]

    def _make_needs(self, action: Action) -> None:
        for need in self._inputs(action):
            self.result(need)

    def _waiting(self, action: Action) -> None:
        self.report(Note(f"{action.name}: another build is at work on it; waiting for its result"))
