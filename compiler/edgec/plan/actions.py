"""Recipe, target and checkpoint header turned into actions: what runs, why, at what cost, and what is cached.

Rule: an action's key holds everything its result depends on and nothing else, so that a change of the packaging never
quantizes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from edgec import __version__
from edgec.deploy.dify.wheels import lock_digest, wheel_bytes
from edgec.deploy.model import Emitted
from edgec.documents.canonical import sha256_bytes
from edgec.plan.gguf import GgufPlan
from edgec.plan.keys import action_key, model_key, source_key
from edgec.plan.model import Action, Cost
from edgec.plan.plan import PlannedSource, Signer
from edgec.prove.held_out import built_in_text
from edgec.prove.thresholds import demanded, max_tensor_error
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.model import Imatrix
from edgec.source.hub import bytes_to_download
from edgec.source.text import read_text
from edgec.store.actions import ActionStore
from edgec.target.model import Target

# Memory of a step that streams: a constant, whatever the model (measured: benchmarks/compile).
_STREAMING_MIB = 300
# Memory of a llama.cpp process beside the weights it maps: buffers, logits, the vocabulary.
_RUNTIME_MIB = 500


@dataclass(frozen=True)
class _Draft:
    """An action before it has a key. `inputs`: digests, or keys of the actions in `needs`."""

    kind: Literal["fetch", "reference", "imatrix", "compile", "prove", "wheels", "bundle"]
    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    reason: str
    needs: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class ActionGraph:
    """Makes the actions of one build. `bundle_stands`: whether the bundle of exactly this build stands in its place."""

    loaded: LoadedRecipe
    target: Target
    source: PlannedSource
    store: ActionStore
    bundle_stands: bool
    signer: Signer
    deployment: Mapping[str, Emitted]
    dify_signer: Signer | None
    _actions: dict[str, Action] = field(default_factory=dict)

    def make(self, artifacts: tuple[GgufPlan, ...]) -> tuple[Action, ...]:
        """All actions, in an order that respects their needs."""
        self._fetch()
        proofs = {a.name: self._gguf(a) for a in artifacts}
        wheels = self._wheels()
        self._bundle(artifacts, proofs, wheels)
        return tuple(self._actions.values())

    def bundle_bytes(self, artifacts: tuple[GgufPlan, ...]) -> int:
        """Bytes of what is large in the bundle: the artifacts, and what it carries for its servers."""
        carried = sum(len(data) for emitted in self.deployment.values() for data in emitted.files.values())
        wheels = wheel_bytes() if self._wants_wheels else 0
        return sum(a.layout.size_bytes for a in artifacts) + carried + wheels

    @property
    def _wants_wheels(self) -> bool:
        dify = self.loaded.recipe.package.dify
        return dify is not None and dify.with_wheels

    @property
    def _model(self) -> str:
        return model_key(self.source.header.identity)

    @property
    def _fetched(self) -> tuple[str, ...]:
        return ("fetch",) if self.source.hub is not None else ()

    def _add(self, draft: _Draft) -> str:
        """Adds an action once (artifacts share references) and returns its key."""
        key = action_key(draft.kind, draft.settings, draft.inputs)
        if draft.name not in self._actions:
            self._actions[draft.name] = Action(
                name=draft.name,
                kind=draft.kind,
                key=key,
                needs=draft.needs,
                inputs=dict(draft.inputs),
                settings=dict(draft.settings),
                reason=draft.reason,
                cached=self._is_cached(draft, key),
                cost=draft.cost,
            )
        return key

    def _is_cached(self, draft: _Draft, key: str) -> bool:
        match draft.kind:
            case "fetch":
                return draft.cost.download_bytes == 0
            case "bundle":
                return self.bundle_stands
            case _:
                return self.store.lookup(key) is not None

    def _fetch(self) -> None:
        hub = self.source.hub
        if hub is None:
            return
        reason = f"the recipe names {hub.repo} at {hub.revision[:12]}"
        cost = Cost(download_bytes=bytes_to_download(hub, self.source.header))
        self._add(_Draft("fetch", "fetch", {}, {"source": self._model}, reason, cost=cost))

    def _gguf(self, artifact: GgufPlan) -> str:
        """The actions of one GGUF; returns the key of its proof."""
        reference = self._reference(artifact)
        inputs = {"source": self._model}
        needs = self._fetched
        if (imatrix := artifact.settings.quantize.imatrix) is not None:
            more, makers = self._imatrix(imatrix, artifact, reference)
            inputs |= more
            needs += makers
        compiled = self._add(
            _Draft(
                kind="compile",
                name=f"compile {artifact.name}",
                settings={"layout": artifact.layout.digest, "scheme": artifact.scheme},
                inputs=inputs,
                needs=needs,
                reason=f"the recipe asks for {artifact.scheme}",
                cost=Cost(output_bytes=artifact.layout.size_bytes, memory_mib=_STREAMING_MIB),
            )
        )
        return self._proof(artifact, compiled, reference)

    def _reference(self, artifact: GgufPlan) -> str:
        return self._add(
            _Draft(
                kind="reference",
                name=artifact.reference_action,
                settings={"layout": artifact.reference.digest},
                inputs={"source": self._model},
                needs=self._fetched,
                reason="the unquantized model, which the artifact is compared with",
                cost=Cost(output_bytes=artifact.reference.size_bytes, memory_mib=_STREAMING_MIB),
            )
        )

    def _imatrix(self, imatrix: Imatrix, artifact: GgufPlan, reference: str) -> tuple[dict[str, str], tuple[str, ...]]:
        """The importance matrix as an input of the compile, and the action that makes it, if one does."""
        if imatrix.calibration is None:
            if imatrix.file is None:
                raise ValueError("a checked recipe names a calibration text or an imatrix file")
            return {"imatrix_file": sha256_bytes(self.loaded.resolve(imatrix.file).read_bytes())}, ()
        text = sha256_bytes(read_text(self.loaded.resolve(imatrix.calibration), "calibration text").encode())
        settings = {"max_tokens": imatrix.max_tokens}
        name = f"imatrix-{sha256_bytes((text + reference + str(settings)).encode())[7:13]}"
        key = self._add(
            _Draft(
                kind="imatrix",
                name=name,
                settings=settings,
                inputs={"reference": reference, "calibration": text},
                needs=(artifact.reference_action,),
                reason=f"what matters in the activations of {imatrix.calibration}, at most {imatrix.max_tokens} tokens",
                cost=Cost(memory_mib=(artifact.reference.size_bytes >> 20) + _RUNTIME_MIB),
            )
        )
        return {"imatrix": key}, (name,)

    def _proof(self, artifact: GgufPlan, compiled: str, reference: str) -> str:
        prove = self.loaded.recipe.prove
        inputs = {"artifact": compiled, "reference": reference}
        if prove.held_out is not None:
            inputs["held_out"] = sha256_bytes(read_text(self.loaded.resolve(prove.held_out), "held-out text").encode())
        else:
            inputs["built_in_text"] = sha256_bytes(built_in_text().encode())
        settings = {
            **_plain(prove),
            # The text counts by its content, not by its name.
            "held_out": None,
            "scheme": artifact.scheme,
            "thresholds": asdict(demanded(artifact.scheme, prove)),
            "max_tensor_errors": {name: max_tensor_error(name) for name in artifact.layout.bytes_by_type},
        }
        mapped = artifact.reference.size_bytes + artifact.layout.size_bytes
        return self._add(
            _Draft(
                kind="prove",
                name=f"prove {artifact.name}",
                settings=settings,
                inputs=inputs,
                needs=(artifact.reference_action, f"compile {artifact.name}"),
                reason=f"compare with the unquantized model in llama.cpp, on {prove.held_out or 'a built-in text'}",
                cost=Cost(memory_mib=(mapped >> 20) + 2 * _RUNTIME_MIB),
            )
        )

    def _wheels(self) -> dict[str, str]:
        """The Dify package's Python packages, as an input of the bundle; empty when they are not wanted."""
        if not self._wants_wheels:
            return {}
        reason = "the recipe wants the Dify package to install without internet"
        cost = Cost(download_bytes=wheel_bytes())
        draft = _Draft("wheels", "wheels", {}, {"lock": lock_digest()}, reason, cost=cost)
        return {"wheels": self._add(draft)}

    def _bundle(self, artifacts: tuple[GgufPlan, ...], proofs: Mapping[str, str], wheels: Mapping[str, str]) -> None:
        settings = {
            "edgec": __version__,
            "recipe": self.loaded.document,
            "target": _plain(self.target),
            "key": self.signer.fingerprint,
            "dify_key": None if self.dify_signer is None else self.dify_signer.fingerprint,
            "summaries": {a.name: asdict(a.summary) for a in artifacts},
            "deployment": {
                path: sha256_bytes(data) for e in self.deployment.values() for path, data in e.files.items()
            },
        }
        self._add(
            _Draft(
                kind="bundle",
                name="bundle",
                settings=settings,
                inputs={"source": source_key(self.source.header.identity), **proofs, **wheels},
                needs=(*(n for a in artifacts for n in (f"compile {a.name}", f"prove {a.name}")), *wheels),
                reason=f"sign with the key {self.signer.fingerprint[:19]}",
                cost=Cost(output_bytes=self.bundle_bytes(artifacts)),
            )
        )


def _plain(document: BaseModel) -> dict[str, Any]:
    """A document as JSON data."""
    return document.model_dump(mode="json", by_alias=True)
