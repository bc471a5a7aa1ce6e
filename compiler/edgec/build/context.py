"""What a step may use: the plan, the results of the actions it needs, the reporter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgec.events import Reporter
from edgec.plan.plan import Plan
from edgec.source.hub import fetch_checkpoint
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.store.actions import Result


@dataclass
class StepContext:
    """Hands a step its inputs. `result(name)` runs the action `name` first if its result is not stored."""

    plan: Plan
    report: Reporter
    digest_file: Callable[[Path], str]
    result: Callable[[str], Result]
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
                self._checkpoint = open_local(source.folder, licence=licence, digest_file=self.digest_file)
            else:
                raise ValueError("a planned source has a folder or a hub repository")
        return self._checkpoint
