"""Weights that are quantized before a backend writes them: what they will be, from the source's header.

Rule: a source that is quantized already is taken as it is, or refused; nothing is quantized twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from edgec.errors import Diagnostic, InputError
from edgec.plan.engine_model import EngineArtifact, PlannedQuantization
from edgec.quantize.calibration import MIN_TOKENS
from edgec.quantize.documents import documents
from edgec.quantize.layout import QuantizedLayout, plan_quantized
from edgec.quantize.run import WEIGHTS
from edgec.quantize.settings import Method, QuantizeSettings
from edgec.recipe.engine import CALIBRATED
from edgec.recipe.load import LoadedRecipe
from edgec.source.layout import CONFIG
from edgec.source.model import CheckpointHeader, DType, TensorInfo
from edgec.source.quantization import MODELOPT_CONFIG, parse_quantization
from edgec.source.text import read_text

METHODS: Mapping[str, Method] = {
    "int4_awq": "awq",
    "int4_gptq": "gptq",
    "int4_rtn": "rtn",
    "int8_sq": "smoothquant",
}


def plan_quantization(
    loaded: LoadedRecipe, artifact: EngineArtifact, index: int, header: CheckpointHeader
) -> PlannedQuantization | None:
    """The weights to make for `artifact`; None for a scheme that has plain ones, or a source that has them.

    Raises InputError: a model that is not quantized, or a calibration that is missing.
    """
    quantize = artifact.quantize
    method = METHODS.get(quantize.scheme)
    if method is None or header.quantization is not None:
        return None
    if quantize.scheme in CALIBRATED and quantize.calibration is None:
        raise InputError(
            Diagnostic(
                f"`{quantize.scheme}` runs the model on a text, and none is named",
                "add `calibration:` with a text like the ones the model will see; `int4_rtn` needs none",
                loaded.span("artifacts", index, "quantize") or loaded.span("artifacts", index),
            )
        )
    if quantize.calibration is not None:
        _refuse_short_text(loaded, quantize.calibration, index)
    settings = QuantizeSettings(method=method, group_size=quantize.group_size, max_tokens=quantize.max_tokens)
    layout = plan_quantized(header, settings)
    return PlannedQuantization(quantize.tool, settings, layout, quantize.calibration, _header(header, layout))


def _refuse_short_text(loaded: LoadedRecipe, calibration: str, index: int) -> None:
    """A text that cannot have the least number of tokens, whatever the tokenizer makes of it."""
    size_bytes = len(read_text(loaded.resolve(calibration), "calibration text").encode())
    if size_bytes < MIN_TOKENS:
        raise InputError(
            Diagnostic(
                f"the calibration text has {size_bytes} bytes, and at least {MIN_TOKENS} tokens are needed",
                "give a text file of a few hundred kilobytes like the model's use",
                loaded.span("artifacts", index, "quantize", "calibration"),
            )
        )


def _header(source: CheckpointHeader, layout: QuantizedLayout) -> CheckpointHeader:
    """The header of the checkpoint that will be made, as it will be read from its folder."""
    files = documents(source, layout)
    config = json.loads(files[CONFIG])
    tensors = {
        name: TensorInfo(name, DType(spec.dtype), spec.shape, WEIGHTS, layout.file.offsets[name], spec.nbytes)
        for name, spec in layout.file.tensors.items()
    }
    return replace(
        source,
        config=config,
        tensors=tensors,
        files=files,
        quantization=parse_quantization(config, files.get(MODELOPT_CONFIG)),
    )
