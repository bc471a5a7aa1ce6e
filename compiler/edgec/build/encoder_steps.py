"""What the steps of every encoder have in common: the calibration text's tokens, and what is proven."""

from __future__ import annotations

from typing import Any

from edgec.build.context import StepContext
from edgec.formats.onnx.encoder import token_ids
from edgec.plan.encoder import EncoderPlan, evenly, usable_lines
from edgec.plan.model import Action
from edgec.plan.onnx import OnnxPlan
from edgec.plan.rknn import RknnPlan
from edgec.prove.model import Attempt
from edgec.store.actions import Result


def calibration_ids(context: StepContext, artifact: OnnxPlan | RknnPlan, action: Action) -> list[list[int]]:
    """The token ids of the calibration text's lines; none without a text."""
    quantize = artifact.settings.quantize
    if quantize.calibration is None:
        return []
    text = context.text(quantize.calibration, "calibration text", action.inputs["calibration"])
    lines = evenly(usable_lines(text), quantize.max_lines)
    return token_ids(context.plan.source.header.files, lines, artifact.encoder.context)


def subject_fields(context: StepContext, action: Action, artifact: EncoderPlan, compiled: Result) -> dict[str, Any]:
    """What every `EncoderSubject` is made of."""
    return {
        "name": artifact.name,
        "source": context.checkpoint(),
        "encoder": artifact.encoder,
        "scheme": artifact.scheme,
        "settings": context.plan.loaded.recipe.prove,
        "held_out_text": context.held_out_text(action),
        "attempts": tuple(Attempt.model_validate(a) for a in compiled.facts["attempts"]),
        "calibrated": frozenset(artifact.calibration_lines),
        "logs": context.logs,
    }
