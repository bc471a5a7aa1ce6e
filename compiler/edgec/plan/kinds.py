"""Which planner plans an artifact, and which actions make it: by its format and by what its model is.

Rule: every kind of artifact is named here, once for each of the two; nothing else chooses by kind.
"""

from __future__ import annotations

from edgec.formats.onnx.classifier import is_classifier
from edgec.plan.engine import plan_engine
from edgec.plan.engine_actions import add_engine
from edgec.plan.engine_model import EnginePlan
from edgec.plan.gguf import GgufPlan, plan_gguf
from edgec.plan.gguf_actions import add_gguf
from edgec.plan.graph import ActionGraph
from edgec.plan.onnx import OnnxPlan, plan_onnx
from edgec.plan.onnx_actions import add_onnx
from edgec.plan.onnx_classifier import OnnxClassifierPlan, plan_onnx_classifier
from edgec.plan.onnx_classifier_actions import add_onnx_classifier
from edgec.plan.onnx_decoder import OnnxDecoderPlan, is_decoder, plan_onnx_decoder
from edgec.plan.onnx_decoder_actions import add_onnx_decoder
from edgec.plan.onnx_graph import OnnxGraphPlan, plan_onnx_graph
from edgec.plan.onnx_graph_actions import add_onnx_graph
from edgec.plan.plan import Planned
from edgec.plan.rkllm import RkllmPlan, plan_rkllm
from edgec.plan.rkllm_actions import add_rkllm
from edgec.plan.rknn import RknnPlan, plan_rknn
from edgec.plan.rknn_actions import add_rknn
from edgec.plan.rknn_classifier import RknnClassifierPlan, plan_rknn_classifier
from edgec.plan.rknn_classifier_actions import add_rknn_classifier
from edgec.plan.rknn_graph import RknnGraphPlan, plan_rknn_graph
from edgec.plan.rknn_graph_actions import add_rknn_graph
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.model import GgufArtifact
from edgec.recipe.onnx import OnnxArtifact
from edgec.recipe.rkllm import RkllmArtifact
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target

_OnnxKinds = OnnxPlan | OnnxDecoderPlan | OnnxClassifierPlan | OnnxGraphPlan


def plan_artifact(loaded: LoadedRecipe, target: Target, header: CheckpointHeader, index: int) -> Planned:
    """Plans the recipe's artifact number `index`. Raises InputError for a model that its format does not take."""
    artifact = loaded.recipe.artifacts[index]
    if header.graph is not None and isinstance(artifact, RknnArtifact):
        return plan_rknn_graph(loaded, target, header, artifact, index)
    if header.graph is not None:
        return plan_onnx_graph(loaded, target, header, artifact, index)
    match artifact:
        case GgufArtifact():
            return plan_gguf(loaded, target, header, artifact, index)
        case OnnxArtifact():
            return _plan_onnx(loaded, target, header, artifact, index)
        case RknnArtifact() if is_classifier(header.config):
            return plan_rknn_classifier(loaded, target, header, artifact, index)
        case RknnArtifact():
            return plan_rknn(loaded, target, header, artifact, index)
        case RkllmArtifact():
            return plan_rkllm(loaded, target, header, artifact, index)
        case _:
            return plan_engine(loaded, target, header, artifact, index)


def _plan_onnx(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: OnnxArtifact, index: int
) -> _OnnxKinds:
    if is_decoder(header.config):
        return plan_onnx_decoder(loaded, target, header, artifact, index)
    if is_classifier(header.config):
        return plan_onnx_classifier(loaded, target, header, artifact, index)
    return plan_onnx(loaded, target, header, artifact, index)


def add_artifact(graph: ActionGraph, artifact: Planned) -> str:
    """Adds the actions that make and prove an artifact; returns the key of its proof."""
    match artifact:
        case GgufPlan():
            return add_gguf(graph, artifact)
        case RknnPlan():
            return add_rknn(graph, artifact)
        case RknnClassifierPlan():
            return add_rknn_classifier(graph, artifact)
        case RknnGraphPlan():
            return add_rknn_graph(graph, artifact)
        case RkllmPlan():
            return add_rkllm(graph, artifact)
        case EnginePlan():
            return add_engine(graph, artifact)
        case _:
            return _add_onnx(graph, artifact)


def _add_onnx(graph: ActionGraph, artifact: _OnnxKinds) -> str:
    match artifact:
        case OnnxPlan():
            return add_onnx(graph, artifact)
        case OnnxDecoderPlan():
            return add_onnx_decoder(graph, artifact)
        case OnnxClassifierPlan():
            return add_onnx_classifier(graph, artifact)
        case OnnxGraphPlan():
            return add_onnx_graph(graph, artifact)
