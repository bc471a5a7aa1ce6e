"""Quantizes one decoder layer: four stages, each on the inputs that the stages before it, quantized, make.

Rule: the layer's inputs are read from one file and its outputs written to another, so that a killed layer can begin
again; what is in memory is a few windows of tokens, a block of rows, and the statistics of one stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.architecture import (
    ATTENTION_INPUTS,
    ATTENTION_OUTPUT,
    LINEARS,
    MLP_INPUTS,
    MLP_OUTPUT,
    Decoder,
)
from edgec.quantize.budget import search_rows
from edgec.quantize.forward import attend, gated, rms_norm
from edgec.quantize.input_statistics import InputStatistics
from edgec.quantize.linear_state import LinearState, as_float16
from edgec.quantize.methods import StageWeights, choose_scales, rounding, scales_inputs, wanted
from edgec.quantize.output import LinearError, QuantizedLinear
from edgec.quantize.scaling import smooth_input_scale
from edgec.quantize.settings import QuantizeSettings
from edgec.quantize.spill import Spill
from edgec.quantize.weights import Weights
from edgec.source.safetensors_file import SafetensorsFile

Floats = NDArray[np.float32]

# Their rows are divided by the scales of the linears that read them, which are chosen in a later stage.
_FOLDED_LATER = ("self_attn.v_proj", "mlp.up_proj")


@dataclass(frozen=True)
class Windows:
    """The calibration text as windows of tokens: how many, how long, and how many are worked on at once."""

    count: int
    tokens: int
    at_once: int

    @property
    def rows(self) -> int:
        """Tokens of all windows."""
        return self.count * self.tokens

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Ranges of tokens, whole windows each."""
        step = self.at_once * self.tokens
        for begin in range(0, self.rows, step):
            yield begin, min(begin + step, self.rows)


@dataclass(frozen=True)
class LayerWork:
    """What all layers of a run share. `scratch`: a folder for what does not stay in memory."""

    decoder: Decoder
    settings: QuantizeSettings
    weights: Weights
    file: SafetensorsFile
    scratch: Path
    windows: Windows | None


def quantize_layer(work: LayerWork, layer: int, hidden: Spill | None, out: Spill | None) -> list[LinearError]:
    """Quantizes layer number `layer`, on the inputs in `hidden`; writes what it makes of them to `out`.

    Without calibration both are None; `out` is None for the last layer. Gives the errors of its linears.
    """
    with ExitStack() as opened:
        run = _LayerRun(work, layer, opened)
        if hidden is None:
            run.plain()
        else:
            run.calibrated(hidden, out)
        return run.finish()


class _LayerRun:
    """The state of one layer while its stages run."""

    def __init__(self, work: LayerWork, layer: int, opened: ExitStack) -> None:
        self._decoder, self._settings, self._file = work.decoder, work.settings, work.file
        self._prefix = f"model.layers.{layer}."
        self._opened, self._scratch = opened, work.scratch
        self._windows = work.windows
        weights, calibrated = work.weights, work.windows is not None
        shapes = self._decoder.linear_shapes()
        self._linears = {
            name: LinearState(
                weights,
                self._prefix + name,
                self._spill(f"rows-{name}", shapes[name][1]) if calibrated else None,
            )
            for name in LINEARS
        }
        self._norms = {n: as_float16(weights.vector(f"{self._prefix}{n}.weight"), n) for n in self._decoder.norms()}

    def plain(self) -> None:
        """All linears, without looking at activations."""
        self._round(LINEARS, None, None)

    def calibrated(self, hidden: Spill, out: Spill | None) -> None:
        """All stages, each followed by the forward pass through what it quantized."""
        decoder = self._decoder
        attended = self._spill("attended", decoder.query_width)
        middle = self._spill("middle", decoder.width)
        inner = self._spill("inner", decoder.inner)

        def attention_input(begin: int, end: int) -> Floats:
            return self._normed("input_layernorm", hidden.read(begin, end))

        def mlp_input(begin: int, end: int) -> Floats:
            return self._normed("post_attention_layernorm", middle.read(begin, end))

        self._stage(ATTENTION_INPUTS, self._statistics(decoder.width, attention_input), "input_layernorm")

        def attend_chunk(begin: int, end: int) -> Floats:
            made = self._attended(attention_input(begin, end))
            attended.write(begin, made)
            return made

        divided = self._stage(ATTENTION_OUTPUT, self._statistics(decoder.query_width, attend_chunk), None)

        def middle_chunk(begin: int, end: int) -> Floats:
            made = hidden.read(begin, end) + self._apply("self_attn.o_proj", attended.read(begin, end), divided)
            middle.write(begin, made)
            return self._normed("post_attention_layernorm", made)

        self._stage(MLP_INPUTS, self._statistics(decoder.width, middle_chunk), "post_attention_layernorm")

        def inner_chunk(begin: int, end: int) -> Floats:
            x = mlp_input(begin, end)
            made = gated(self._linears["mlp.gate_proj"].apply(x), self._linears["mlp.up_proj"].apply(x))
            inner.write(begin, made)
            return made

        last = self._stage(MLP_OUTPUT, self._statistics(decoder.inner, inner_chunk), None)
        if out is not None:
            for begin, end in self._chunks():
                made = self._apply("mlp.down_proj", inner.read(begin, end), last)
                made += middle.read(begin, end)
                out.write(begin, made)

    def finish(self) -> list[LinearError]:
        """Writes the layer's tensors; the errors of its linears."""
        errors: list[LinearError] = []
        for name, values in self._norms.items():
            self._file.write(f"{self._prefix}{name}.weight", values.astype(np.float16))
        for linear in self._linears.values():
            if linear.quantized is None:
                raise ValueError(f"{linear.name} was not quantized")
            self._write(linear.quantized)
            errors.append(linear.quantized.error)
            if linear.bias is not None:
                bias = as_float16(linear.bias, f"{linear.name}.bias")
                self._file.write(f"{linear.name}.bias", bias.astype(np.float16))
        return errors

    def _write(self, made: QuantizedLinear) -> None:
        """Writes a linear that nothing more is folded into, if that was not done yet, and lets go of its codes."""
        if made.is_held:
            made.write(self._file)

    def _stage(self, names: tuple[str, ...], inputs: InputStatistics, norm: str | None) -> Floats | None:
        """Quantizes the linears that share `inputs`; the scales that inputs must be divided by where no norm does."""
        if not scales_inputs(self._settings):
            self._round(names, inputs, None)
            return None
        shared = None if norm else self._shared(names[0])
        scales = choose_scales(self._settings, self._stage_weights(names), inputs, shared)
        if norm is not None:
            before = self._norms[norm]
            self._norms[norm] = as_float16(before / scales, self._prefix + norm)
            # What the rounded norm really divides by.
            scales = np.where(before != 0, before / np.where(self._norms[norm] != 0, self._norms[norm], 1), 1)
            scales = scales.astype(np.float32)
        for name in names:
            self._linears[name].scale_columns(scales)
        self._round(names, inputs, scales)
        if norm is None:
            self._fold(names[0], scales)
            return scales
        return None

    def _round(self, names: tuple[str, ...], inputs: InputStatistics | None, scales: Floats | None) -> None:
        round_rows = rounding(self._settings, inputs, scales)
        for name in names:
            linear = self._linears[name]
            made = QuantizedLinear(linear.name, linear.info.out_features, linear.info.in_features, self._settings)
            for begin, end in linear.row_blocks():
                values = linear.rows(begin, end)
                codes, steps = round_rows(values)
                linear.spill_rows(begin, made.add(begin, codes, steps, values))
            if self._settings.method == "smoothquant" and inputs is not None and scales is not None:
                made.input_scale = smooth_input_scale(inputs, scales)
                linear.input_scale = float(made.input_scale)
            linear.keep(made)
            if not (scales_inputs(self._settings) and name in _FOLDED_LATER):
                self._write(made)

    def _stage_weights(self, names: tuple[str, ...]) -> StageWeights:
        """Rows of each matrix spread evenly over all, and the greatest magnitudes of all rows."""
        samples: list[Floats] = []
        greatest = np.zeros(self._linears[names[0]].info.in_features, np.float32)
        for name in names:
            linear = self._linears[name]
            outputs, inputs = linear.info.out_features, linear.info.in_features
            chosen = np.linspace(0, outputs - 1, min(outputs, search_rows(inputs))).astype(int)
            sample = np.empty((len(chosen), inputs), np.float32)
            for begin, end in linear.row_blocks():
                values = linear.rows(begin, end)
                np.maximum(greatest, np.abs(values).max(axis=0), out=greatest)
                own = (chosen >= begin) & (chosen < end)
                sample[own] = values[chosen[own] - begin]
            samples.append(sample)
        return StageWeights(samples, greatest)

    def _shared(self, name: str) -> NDArray[np.int64] | None:
        """The channel of v_proj that makes each input of o_proj; None for down_proj, which up_proj feeds one to one."""
        if name not in ATTENTION_OUTPUT:
            return None
        decoder = self._decoder
        heads = np.arange(decoder.heads) // (decoder.heads // decoder.kv_heads)
        return (heads[:, None] * decoder.head_dim + np.arange(decoder.head_dim)).reshape(-1)

    def _fold(self, name: str, scales: Floats) -> None:
        """Divides what makes the inputs of the linear `name` by `scales`."""
        shared = self._shared(name)
        if shared is None:
            self._linears["mlp.up_proj"].divide_rows(scales)
            return
        divisors = np.empty(self._decoder.kv_width, np.float32)
        divisors[shared] = scales
        self._linears["self_attn.v_proj"].divide_rows(divisors)

    def _statistics(self, channels: int, chunk: Callable[[int, int], Floats]) -> InputStatistics:
        windows = self._required_windows()
        found = InputStatistics(channels, windows.rows, wanted(self._settings))
        for begin, end in self._chunks():
            found.add(chunk(begin, end))
        return found

    def _attended(self, x: Floats) -> Floats:
        q, k, v = (self._linears[name].apply(x) for name in ATTENTION_INPUTS)
        norms = (self._norms["self_attn.q_norm"], self._norms["self_attn.k_norm"]) if self._decoder.qk_norm else None
        return attend(self._decoder, (q, k, v), norms, self._required_windows().tokens)

    def _apply(self, name: str, x: Floats, divided: Floats | None) -> Floats:
        return self._linears[name].apply(x if divided is None else x / divided)

    def _normed(self, norm: str, x: Floats) -> Floats:
        return rms_norm(x, self._norms[norm], self._decoder.epsilon)

    def _spill(self, name: str, columns: int) -> Spill:
        return self._opened.enter_context(Spill(self._scratch / name, columns))

    def _required_windows(self) -> Windows:
        if self._windows is None:
            raise ValueError("no calibration text")
        return self._windows

    def _chunks(self) -> Iterator[tuple[int, int]]:
        return self._required_windows().chunks()
