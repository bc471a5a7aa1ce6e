"""The four methods behind one interface: what each wants to know of a stage's inputs, how it scales, how it rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.gptq import Feedback
from edgec.quantize.input_statistics import InputStatistics, Wanted
from edgec.quantize.rounding import round_clipped, round_plain
from edgec.quantize.scaling import awq_scales, round_channels, smooth_scales
from edgec.quantize.settings import QuantizeSettings

Floats = NDArray[np.float32]
# Rows of weights -> codes (rows, inputs), scales (rows, groups or 1).
Round = Callable[[Floats], tuple[NDArray[np.int8], Floats]]


@dataclass(frozen=True)
class StageWeights:
    """What a search sees of a stage's weights: some rows of each matrix, and the greatest magnitude per channel."""

    samples: Sequence[Floats]
    greatest: Floats


def wanted(settings: QuantizeSettings) -> Wanted:
    """The statistics that the method needs."""
    found: Mapping[str, Wanted] = {
        "rtn": Wanted(),
        "awq": Wanted(sample=True, gram_size=settings.group_size),
        "gptq": Wanted(hessian=True),
        "smoothquant": Wanted(sample=True),
    }
    return found[settings.method]


def scales_inputs(settings: QuantizeSettings) -> bool:
    """Whether the method scales channels."""
    return settings.method in ("awq", "smoothquant")


def choose_scales(
    settings: QuantizeSettings, weights: StageWeights, inputs: InputStatistics, shared: NDArray[np.int64] | None
) -> Floats:
    """Scales of the stage's input channels."""
    if settings.method == "awq":
        return awq_scales(weights.samples, inputs, settings.group_size, shared)
    return smooth_scales(weights.samples, weights.greatest, inputs, shared)


def rounding(settings: QuantizeSettings, inputs: InputStatistics | None, scales: Floats | None) -> Round:
    """How the method rounds rows of weights that were multiplied by `scales`. Uses up the inputs' products."""
    size = settings.group_size
    if settings.method == "smoothquant":
        return round_channels
    if settings.method == "rtn" or inputs is None:

        def plain(values: Floats) -> tuple[NDArray[np.int8], Floats]:
            rounded = round_plain(values, size)
            return rounded.codes, rounded.scales

        return plain
    if settings.method == "gptq" and inputs.hessian is not None:
        feedback = Feedback(inputs.hessian.factor(), size)

        def fed_back(values: Floats) -> tuple[NDArray[np.int8], Floats]:
            rounded = feedback.round(values)
            return rounded.codes, rounded.scales

        return fed_back
    gram = inputs.gram
    if scales is not None:
        grouped = scales.reshape(-1, size)
        gram = gram / (grouped[:, :, None] * grouped[:, None, :])

    def clipped(values: Floats) -> tuple[NDArray[np.int8], Floats]:
        rounded = round_clipped(values, gram)
        return rounded.codes, rounded.scales

    return clipped
