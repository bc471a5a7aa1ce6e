"""The graph of a build's actions while it is made: each gets its key from what its result depends on.

Rule: an action's key holds everything its result depends on and nothing else, so that a change of the packaging never
quantizes again; an action that two artifacts need is there once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgec.documents.canonical import sha256_bytes
from edgec.plan.keys import action_key, model_key
from edgec.plan.model import Action, ActionKind, Cost
from edgec.plan.origin import PlannedSource
from edgec.prove.held_out import built_in_text
from edgec.recipe.load import LoadedRecipe
from edgec.source.text import read_text
from edgec.store.actions import ActionStore
from edgec.toolchain.definition import find_toolchain

# Memory of a step that streams: a constant, whatever the model (measured: benchmarks/compile).
STREAMING_MIB = 300


@dataclass(frozen=True)
class Draft:
    """An action before it has a key. `inputs`: digests, or keys of the actions in `needs`; `toolchains`: names."""

    kind: ActionKind
    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    reason: str
    needs: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    toolchains: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActionGraph:
    """Collects the actions of one build. `bundle_stands`: whether the bundle of exactly this build is in its place."""

    loaded: LoadedRecipe
    source: PlannedSource
    store: ActionStore
    bundle_stands: bool
    _actions: dict[str, Action] = field(default_factory=dict)

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions so far, in an order that respects their needs."""
        return tuple(self._actions.values())

    @property
    def model(self) -> str:
        """The checkpoint as an input."""
        return model_key(self.source.header.identity)

    @property
    def fetched(self) -> tuple[str, ...]:
        """What an action needs before it can read the checkpoint."""
        return ("fetch",) if self.source.hub is not None else ()

    def add(self, draft: Draft) -> str:
        """Adds an action once (artifacts share references) and returns its key."""
        locks = {f"toolchain {name}": find_toolchain(name).lock_digest for name in draft.toolchains}
        inputs = {**draft.inputs, **locks}
        key = action_key(draft.kind, draft.settings, inputs)
        if draft.name not in self._actions:
            self._actions[draft.name] = Action(
                name=draft.name,
                kind=draft.kind,
                key=key,
                needs=draft.needs,
                inputs=inputs,
                settings=dict(draft.settings),
                reason=draft.reason,
                cached=self._is_cached(draft, key),
                cost=draft.cost,
                toolchains=draft.toolchains,
            )
        return key

    def calibration(self, relative: str) -> str:
        """The digest of a calibration text."""
        return sha256_bytes(read_text(self.loaded.resolve(relative), "calibration text").encode())

    def held_out(self) -> dict[str, str]:
        """The text of the proofs as an input."""
        held_out = self.loaded.recipe.prove.held_out
        if held_out is None:
            return {"built_in_text": sha256_bytes(built_in_text().encode())}
        return {"held_out": sha256_bytes(read_text(self.loaded.resolve(held_out), "held-out text").encode())}

    def _is_cached(self, draft: Draft, key: str) -> bool:
        match draft.kind:
            case "fetch":
                return draft.cost.download_bytes == 0
            case "bundle":
                return self.bundle_stands
            case _:
                return self.store.lookup(key) is not None
