"""What the steps of every encoder have in common: the calibration text's tokens, and what is proven."""

from __future__ import annotations

from typing import Any

from edgec.build.context import StepContext
from edgec.formats.onnx.encoder import Tokens, encode, token_ids
from edgec.plan.encoder import EncoderPlan, evenly, usable_lines
from edgec.plan.model import Action
from edgec.plan.onnx import OnnxPlan
from edgec.plan.rknn import RknnPlan
from edgec.prove.encoder_pair.texts import calibration_pairs
from edgec.prove.model import Attempt
from edgec.store.actions import Result


def calibration_ids(context: StepContext, artifact: RknnPlan, action: Action) -> list[list[int]]:
    """The token ids of the calibration text's lines; none without a text."""
    lines = _lines(context, artifact, action)
    return token_ids(context.plan.source.header.files, lines, artifact.encoder.context)


def calibration_texts(context: StepContext, artifact: OnnxPlan, action: Action) -> tuple[list[Tokens], list[Tokens]]:
    """What routes are calibrated on, and what they are compared on where there is a choice; both empty without a text.

    Of a reranker both are pairs, and those of one query stay together.
    """
    lines = _lines(context, artifact, action)
    if not lines:
        return [], []
    files, encoder = context.plan.source.header.files, artifact.encoder
    groups = (
        calibration_pairs(files, encoder, lines)
        if encoder.kind == "reranker"
        else [[text] for text in encode(files, lines, encoder)]
    )
    halves = (groups[::2], groups[1::2]) if len(artifact.layout.routes) > 1 else (groups, [])
    ranges, judged = ([text for group in half for text in group] for half in halves)
    return ranges, judged


def _lines(context: StepContext, artifact: OnnxPlan | RknnPlan, action: Action) -> tuple[str, ...]:
    quantize = artifact.settings.quantize
    if quantize.calibration is None:
        return ()
    text = context.text(quantize.calibration, "calibration text", action.inputs["calibration"])
    return evenly(usable_lines(text), quantize.max_lines)


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
