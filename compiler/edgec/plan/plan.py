"""The plan itself: its documents, the artifacts it will make, and the actions in the order they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.deploy.model import Emitted
from edgec.plan.engine_model import EnginePlan
from edgec.plan.gguf import GgufPlan
from edgec.plan.graph_plan import GraphPlan
from edgec.plan.model import PROOFS, Action, DiskNeed
from edgec.plan.onnx import OnnxPlan
from edgec.plan.onnx_classifier import OnnxClassifierPlan
from edgec.plan.onnx_decoder import OnnxDecoderPlan
from edgec.plan.onnx_graph import OnnxGraphPlan
from edgec.plan.origin import PlannedSource, Signer
from edgec.plan.rkllm import RkllmPlan
from edgec.plan.rknn import RknnPlan
from edgec.plan.rknn_classifier import RknnClassifierPlan
from edgec.plan.rknn_graph import RknnGraphPlan
from edgec.recipe.load import LoadedRecipe
from edgec.target.model import Target

# Every kind of artifact; what they have in common is `PlannedArtifact`.
Planned = (
    GgufPlan
    | OnnxPlan
    | OnnxDecoderPlan
    | OnnxClassifierPlan
    | OnnxGraphPlan
    | RknnPlan
    | RknnClassifierPlan
    | RknnGraphPlan
    | RkllmPlan
    | EnginePlan
)


@dataclass(frozen=True)
class Plan:
    """Everything `edgec build` will do. `actions` are in an order that respects `needs`; `disk` is the device's.

    `deployment`: what each emitter of the recipe's `package:` made, by its name. `dify_signer`: who will sign the Dify
    package, None without one.
    """

    loaded: LoadedRecipe
    target: Target
    source: PlannedSource
    artifacts: tuple[Planned, ...]
    actions: tuple[Action, ...]
    disk: DiskNeed
    bundle_name: str
    signer: Signer
    deployment: Mapping[str, Emitted]
    dify_signer: Signer | None = None

    @property
    def to_run(self) -> tuple[Action, ...]:
        """The actions a build runs, in order: those that are not cached and that a proof or the bundle needs."""
        # A standing bundle is shown with its proofs, so that these are always wanted.
        wanted = [a.name for a in self.actions if a.kind in PROOFS or a.kind == "bundle"]
        found: set[str] = set()
        while wanted:
            action = self.action(wanted.pop())
            if not action.cached and action.name not in found:
                found.add(action.name)
                wanted += action.needs
        return tuple(a for a in self.actions if a.name in found)

    @property
    def bytes_to_write(self) -> int:
        """Bytes a build still has to write or download on this machine."""
        costs = [a.cost for a in self.to_run]
        return sum(c.output_bytes + c.scratch_bytes + c.download_bytes for c in costs)

    def action(self, name: str) -> Action:
        """The action called `name`."""
        return next(a for a in self.actions if a.name == name)

    @property
    def ggufs(self) -> tuple[GgufPlan, ...]:
        """The artifacts that are GGUFs."""
        return tuple(a for a in self.artifacts if isinstance(a, GgufPlan))

    @property
    def engines(self) -> tuple[EnginePlan, ...]:
        """The artifacts from which a device builds an engine."""
        return tuple(a for a in self.artifacts if isinstance(a, EnginePlan))

    @property
    def onnx(self) -> tuple[OnnxPlan, ...]:
        """The artifacts for onnxruntime."""
        return tuple(a for a in self.artifacts if isinstance(a, OnnxPlan))

    @property
    def graphs(self) -> tuple[GraphPlan, ...]:
        """The artifacts made of a user's own graph, of all formats."""
        return tuple(a for a in self.artifacts if isinstance(a, GraphPlan))

    @property
    def rknn(self) -> tuple[RknnPlan, ...]:
        """The artifacts for Rockchip's NPU."""
        return tuple(a for a in self.artifacts if isinstance(a, RknnPlan))

    @property
    def rkllm(self) -> tuple[RkllmPlan, ...]:
        """The language models for Rockchip's NPU."""
        return tuple(a for a in self.artifacts if isinstance(a, RkllmPlan))

    @property
    def toolchains(self) -> tuple[str, ...]:
        """Names of the toolchains that the actions to run need."""
        return tuple(dict.fromkeys(name for action in self.to_run for name in action.toolchains))
