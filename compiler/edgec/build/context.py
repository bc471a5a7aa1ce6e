"""What a step may use: the plan, the results of the actions it needs, the reporter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from edgec.documents.canonical import sha256_bytes
from edgec.events import Reporter
from edgec.plan.model import Action
from edgec.plan.plan import Plan
from edgec.source.hub import fetch_checkpoint, weight_digests
from edgec.source.model import Checkpoint
from edgec.source.text import read_text
from edgec.source.unchanged import file_changed, unchanged
from edgec.store.actions import Result
from edgec.toolchain.environments import Environment, find_toolchain, install


@dataclass
class StepContext:
    """Hands a step its inputs. `result(name)` runs the action `name` first if its result is not stored.

    `logs`: the folder for the output of processes that fail; `toolchains`: where the tools' environments stand.
    """

    plan: Plan
    report: Reporter
    digest_file: Callable[[Path], str]
    result: Callable[[str], Result]
    logs: Path
    toolchains: Path
    _checkpoint: Checkpoint | None = field(default=None, repr=False)

    def checkpoint(self) -> Checkpoint:
        """The checkpoint with its weights on disk; downloads it when it comes from the hub."""
        if self._checkpoint is None:
            source = self.plan.source
            licence = self.plan.loaded.recipe.source.licence
            if source.hub is not None:
                self._checkpoint = fetch_checkpoint(
                    source.hub, offline=source.offline, licence=licence, report=self.report
                )
            elif source.folder is not None:
                # As planned, not as the folder is by now: `weights_unchanged` refuses what differs.
                self._checkpoint = Checkpoint(source.header, source.folder)
            else:
                raise ValueError("a planned source has a folder or a hub repository")
        return self._checkpoint

    def environment(self, name: str) -> Environment:
        """The toolchain `name`, installed if it is not yet. Raises ToolError when it cannot be."""
        log = self.logs / f"toolchain-{name}.log"
        offline = self.plan.source.offline
        return install(find_toolchain(name), self.toolchains, offline=offline, report=self.report, log=log)

    def weights_unchanged(self) -> AbstractContextManager[None]:
        """Read weights within: raises InputError if they are not those the plan was made for, before or afterwards."""
        hub = self.plan.source.hub
        return unchanged(self.checkpoint(), self.digest_file if hub is None else weight_digests(hub))

    def held_out_text(self, action: Action) -> str | None:
        """The text that proves; None: the built-in one. Raises InputError when it changed after planning."""
        name = self.plan.loaded.recipe.prove.held_out
        return None if name is None else self.text(name, "held-out text", action.inputs["held_out"])

    def text(self, name: str, what: str, digest: str) -> str:
        """The text the recipe names, which must still be the one that was planned with. Raises InputError."""
        path = self.plan.loaded.resolve(name)
        text = read_text(path, what)
        if sha256_bytes(text.encode()) != digest:
            raise file_changed(path)
        return text
