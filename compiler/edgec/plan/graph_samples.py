"""The samples of a user's graph: that there are enough to calibrate, to judge and to prove.

Rule: a sample that calibrates proves nothing; what is left must be enough, before anything runs.
"""

from __future__ import annotations

from edgec.errors import Diagnostic, InputError, Span
from edgec.formats.onnx.graph import Port
from edgec.formats.samples import SampleInput, Samples, evenly, open_samples
from edgec.plan.encoder import EncoderArtifact
from edgec.plan.graph_plan import MAX_HELD_OUT
from edgec.plan.graph_shapes import require_static
from edgec.recipe.load import LoadedRecipe

_MIN_CALIBRATION, MIN_HELD_OUT = 8, 4


def calibration_samples(
    loaded: LoadedRecipe, artifact: EncoderArtifact, index: int, inputs: tuple[SampleInput, ...]
) -> Samples | None:
    """The samples that calibrate. Raises InputError, at the recipe's line: too few, or none that suit the inputs."""
    calibration = artifact.quantize.calibration
    if calibration is None:
        return None
    found = open_samples(loaded.resolve(calibration), inputs, "calibration samples")
    if len(found) < _MIN_CALIBRATION:
        message = f"{len(found)} calibration samples are too few: half calibrate, half judge"
        span = loaded.span("artifacts", index, "quantize", "calibration")
        raise InputError(Diagnostic(message, f"give at least {_MIN_CALIBRATION}", span))
    return found


def held_out_samples(
    loaded: LoadedRecipe,
    artifact: EncoderArtifact,
    index: int,
    inputs: tuple[SampleInput, ...],
    calibration: Samples | None,
) -> Samples | None:
    """The samples that prove. Raises InputError, at the recipe's line: too few, or none that suit the inputs."""
    held_out = loaded.recipe.prove.held_out
    if held_out is None:
        if artifact.quantize.scheme != "fp32":
            message = "nothing is named to prove the model on, and numbers by chance are no proof"
            hint = "add `prove: {held_out: ...}`: samples of the model's use that it is not calibrated on"
            raise InputError(Diagnostic(message, hint, loaded.span("artifacts", index)))
        require_static(loaded, [Port(i.name, i.dtype, i.shape) for i in inputs], "a sample must have a size",
                       from_dim=1)  # fmt: skip
        return None
    found = open_samples(loaded.resolve(held_out), inputs, "held-out samples")
    span = loaded.span("prove", "held_out")
    if len(found) < MIN_HELD_OUT:
        message = f"{len(found)} held-out samples are too few to prove anything"
        raise InputError(Diagnostic(message, f"give at least {MIN_HELD_OUT}", span))
    if calibration is not None:
        calibrated = frozenset(calibration.marks(evenly(len(calibration), artifact.quantize.max_lines)))
        marks = list(found.marks(evenly(len(found), MAX_HELD_OUT)))
        left = sum(mark not in calibrated for mark in marks)
        if left < MIN_HELD_OUT:
            raise InputError(too_few_left(left, len(marks), span=span))
    return found


def too_few_left(left: int, taken: int, *, span: Span | None = None, place: str | None = None) -> Diagnostic:
    """What is wrong where most of the `taken` held-out samples calibrate too."""
    message = f"only {left} of {taken} held-out samples are none that the model is calibrated on"
    hint = f"give at least {MIN_HELD_OUT} others: a model looks too good on what it was calibrated on"
    return Diagnostic(message, hint, span, place)
