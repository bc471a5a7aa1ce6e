"""Quantizes a checkpoint into a folder, layer by layer; a killed run goes on at the layer it was in.

Rule: nothing but one layer's work is in memory; the same input makes the same bytes, whether it was killed or not.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgec.documents.canonical import sha256_bytes, sha256_json
from edgec.events import Progress, Reporter
from edgec.quantize.budget import windows_at_once
from edgec.quantize.calibration import calibration_windows
from edgec.quantize.documents import documents
from edgec.quantize.embedding import embed
from edgec.quantize.forward import Floats, blocks
from edgec.quantize.journal import Journal, LayerResult, range_digest
from edgec.quantize.layer import LayerWork, Windows, quantize_layer
from edgec.quantize.layout import QuantizedLayout
from edgec.quantize.linear_state import as_float16
from edgec.quantize.output import LinearError
from edgec.quantize.spill import Spill
from edgec.quantize.weights import Weights, open_weights
from edgec.source.model import Checkpoint
from edgec.source.safetensors_file import SafetensorsFile
from edgec.source.unchanged import weight_stamps
from edgec.store.atomic import explained, fsync_folder, write_file

WEIGHTS = "model.safetensors"
_SCRATCH = "scratch"


@dataclass(frozen=True)
class QuantizedCheckpoint:
    """What stands in the folder: names of its files, each linear's error, and what else is worth recording."""

    files: tuple[str, ...]
    errors: tuple[LinearError, ...]
    facts: Mapping[str, Any]


def quantize_checkpoint(
    checkpoint: Checkpoint, layout: QuantizedLayout, calibration: str, out: Path, *, report: Reporter, action: str
) -> QuantizedCheckpoint:
    """Writes the quantized checkpoint into `out`, which may hold the remains of a killed run; they are used again.

    `calibration`: a text like the model's use, not looked at by `rtn`. When it returns, `out` holds the finished,
    durable files and nothing else of ours. Raises InputError for weights or a text that cannot be used, ToolError when
    the disk fails; the folder can be resumed after both.
    """
    tokens = _tokens(checkpoint, layout, calibration)
    scratch = out / _SCRATCH
    with explained(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    journal = Journal(out, _key(checkpoint, layout, tokens))
    with open_weights(checkpoint) as weights, SafetensorsFile(out / WEIGHTS, layout.file) as file:
        run = _Run(layout, weights, file, out, tokens)
        finished = journal.resume(run.has_layer, run.has_hidden)
        results = run.execute(finished, journal, report, action)
        _copy_others(run, file)
    files = documents(checkpoint.header, layout)
    for name, data in files.items():
        write_file(out / name, data)
    fsync_folder(out)
    journal.forget()
    with explained(scratch):
        shutil.rmtree(scratch)
    errors = tuple(e for r in results for e in r.errors)
    return QuantizedCheckpoint((WEIGHTS, *sorted(files)), errors, _facts(layout, tokens, errors))


def _tokens(checkpoint: Checkpoint, layout: QuantizedLayout, text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Windows of tokens; none where the method looks at no activations."""
    if not layout.settings.is_calibrated:
        return np.empty((0, 0), np.int32)
    return calibration_windows(checkpoint.header, layout.decoder, layout.settings, text)


def _key(checkpoint: Checkpoint, layout: QuantizedLayout, tokens: np.ndarray[Any, np.dtype[np.int32]]) -> str:
    sources = [[f.name, f.digest] for f in checkpoint.header.identity.files]
    return sha256_json([layout.digest, sources, weight_stamps(checkpoint), sha256_bytes(tokens.tobytes())])


def _facts(
    layout: QuantizedLayout, tokens: np.ndarray[Any, np.dtype[np.int32]], errors: tuple[LinearError, ...]
) -> dict[str, Any]:
    settings = layout.settings
    return {
        "method": settings.method,
        "bits": settings.bits,
        "group_size": settings.group_size if settings.bits == 4 else None,
        "calibration_tokens": int(tokens.size),
        "worst_relative_rmse": max((e.relative_rmse for e in errors), default=0.0),
    }


class _Run:
    """One run over the layers that are left."""

    def __init__(
        self,
        layout: QuantizedLayout,
        weights: Weights,
        file: SafetensorsFile,
        out: Path,
        tokens: np.ndarray[Any, np.dtype[np.int32]],
    ) -> None:
        self.layout = layout
        self.weights = weights
        self._file = file
        self._path = out / WEIGHTS
        self._scratch = out / _SCRATCH
        self._tokens = tokens
        self._windows: Windows | None = None
        if tokens.size:
            at_once = windows_at_once(layout.decoder, tokens.shape[1])
            self._windows = Windows(tokens.shape[0], tokens.shape[1], at_once)

    def has_layer(self, result: LayerResult) -> bool:
        """Whether the file holds the layer as the journal says."""
        return self._layer_digest(result.layer) == result.tensors

    def has_hidden(self, result: LayerResult) -> bool:
        """Whether the activations that the layer left are there."""
        return self._hidden_digest(result.layer + 1) == result.hidden

    def execute(
        self, finished: list[LayerResult], journal: Journal, report: Reporter, action: str
    ) -> list[LayerResult]:
        """Does the layers that are not finished; the results of all."""
        layers = self.layout.decoder.layers
        for result in finished:
            for name in self._layer_tensors(result.layer):
                self._file.already_written(name)
        if not finished and self._windows is not None:
            with self._hidden(0) as hidden:
                embed(self.weights, self._tokens.reshape(-1), self._windows, hidden)
        work = LayerWork(
            self.layout.decoder, self.layout.settings, self.weights, self._file, self._scratch, self._windows
        )
        results = list(finished)
        for layer in range(len(finished), layers):
            report(Progress(action=action, done=layer, total=layers, unit="layers", detail=f"layer {layer}"))
            results.append(self._one(layer, work))
            journal.add(results[-1])
        report(Progress(action=action, done=layers, total=layers, unit="layers"))
        return results

    def _one(self, layer: int, work: LayerWork) -> LayerResult:
        with ExitStack() as opened:
            hidden = out = None
            if self._windows is not None:
                hidden = opened.enter_context(self._hidden(layer))
                if layer + 1 < self.layout.decoder.layers:
                    out = opened.enter_context(self._hidden(layer + 1))
            errors = quantize_layer(work, layer, hidden, out)
            self._file.sync()
            if out is not None:
                out.sync()
        return LayerResult(layer, self._layer_digest(layer), self._hidden_digest(layer + 1), tuple(errors))

    def _hidden(self, layer: int) -> Spill:
        """What goes into the layer. Two files by turns: a killed layer still finds its own."""
        return Spill(self._scratch / f"hidden-{layer % 2}", self.layout.decoder.width)

    def _layer_tensors(self, layer: int) -> list[str]:
        prefix = f"model.layers.{layer}."
        return [name for name in self.layout.file.tensors if name.startswith(prefix)]

    def _layer_digest(self, layer: int) -> str:
        file = self.layout.file
        names = self._layer_tensors(layer)
        return range_digest(self._path, [(file.offsets[n], file.tensors[n].nbytes) for n in names])

    def _hidden_digest(self, layer: int) -> str:
        """Of what goes into the layer; empty where nothing does."""
        if self._windows is None or layer >= self.layout.decoder.layers:
            return ""
        path = self._scratch / f"hidden-{layer % 2}"
        if not path.exists():
            return "none"
        return range_digest(path, [(0, self._windows.rows * self.layout.decoder.width * 4)])


def _copy_others(run: _Run, file: SafetensorsFile) -> None:
    """What is not quantized and belongs to no layer, in float16."""
    for name, spec in run.layout.file.tensors.items():
        if name.startswith("model.layers."):
            continue
        if len(spec.shape) == 1:
            file.write(name, _half(run.weights.vector(name), name))
            continue
        for begin, end in blocks(*spec.shape):
            file.write(name, _half(run.weights.rows(name, begin, end), name), begin)


def _half(values: Floats, name: str) -> np.ndarray[Any, np.dtype[np.float16]]:
    return as_float16(values, name).astype(np.float16)
