"""How large keys and values get, layer by layer, on a calibration text: what an INT8 KV cache needs.

Rule: streamed like the quantizer, over the weights as they are, plain or quantized; keys are taken as the cache holds
them, after the rotary positions.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec.events import Progress, Reporter
from edgec.quantize.architecture import Decoder, plan_decoder
from edgec.quantize.budget import windows_at_once
from edgec.quantize.calibration import calibration_windows
from edgec.quantize.decoder_layer import DecoderLayer
from edgec.quantize.embedding import embed
from edgec.quantize.layer import Windows
from edgec.quantize.settings import QuantizeSettings
from edgec.quantize.spill import Spill
from edgec.quantize.weights import Weights, open_weights
from edgec.source.model import Checkpoint
from edgec.store.atomic import explained

_HIGHEST = 127.0


@dataclass(frozen=True)
class KvRange:
    """Greatest magnitudes of a layer's keys and values; `*_scale` is what 1 stands for in an INT8 cache."""

    layer: int
    key: float
    value: float

    @property
    def key_scale(self) -> float:
        """Scale of the keys."""
        return self.key / _HIGHEST

    @property
    def value_scale(self) -> float:
        """Scale of the values."""
        return self.value / _HIGHEST


def kv_ranges(
    checkpoint: Checkpoint,
    calibration: str,
    scratch: Path,
    *,
    report: Reporter,
    action: str,
    settings: QuantizeSettings | None = None,
) -> tuple[KvRange, ...]:
    """The ranges of all layers on the start of `calibration`. `scratch`: a folder for the activations of one layer.

    `settings`: how much of the text, in windows of which length. Raises InputError as planning and quantizing do.
    """
    decoder = plan_decoder(checkpoint.header)
    wanted = settings or QuantizeSettings("rtn")
    tokens = calibration_windows(checkpoint.header, decoder, wanted, calibration)
    windows = Windows(tokens.shape[0], tokens.shape[1], windows_at_once(decoder, tokens.shape[1]))
    with explained(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "hidden"
    found: list[KvRange] = []
    with ExitStack() as opened:
        weights = opened.enter_context(open_weights(checkpoint))
        hidden = opened.enter_context(Spill(path, decoder.width))
        embed(weights, tokens.reshape(-1), windows, hidden)
        for layer in range(decoder.layers):
            report(Progress(action=action, done=layer, total=decoder.layers, unit="layers", detail=f"layer {layer}"))
            found.append(_layer(decoder, weights, layer, windows, hidden))
    report(Progress(action=action, done=decoder.layers, total=decoder.layers, unit="layers"))
    with explained(path):
        path.unlink()
    return tuple(found)


def _layer(decoder: Decoder, weights: Weights, layer: int, windows: Windows, hidden: Spill) -> KvRange:
    """One layer; its outputs take the place of its inputs."""
    computed = DecoderLayer(decoder, weights, layer)
    key = value = 0.0
    for begin, end in windows.chunks():
        made = computed.run(hidden.read(begin, end), windows.tokens)
        key, value = max(key, float(np.abs(made.keys).max())), max(value, float(np.abs(made.values).max()))
        hidden.write(begin, made.hidden)
    return KvRange(layer, key, value)
