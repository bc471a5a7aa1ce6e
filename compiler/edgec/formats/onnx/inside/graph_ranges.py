"""Beside the scripts of graphs: the ranges of a graph's activations on samples, by onnxruntime's calibrators.

Rule: work and memory are bounded by what is known before: histograms never grow, and too many numbers are no histogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graph_file import read
from graph_run import feeds
from onnx import TensorProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import (
    HistogramCollector,
    create_calibrator,
    load_tensors_data,
    save_tensors_data,
)

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
# onnxruntime's own 128 bins are as many as entropy merges them to, which leaves it no choice;
# its time grows with the square of them.
_OPTIONS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "percentile": {"symmetric": False},
    "entropy": {"symmetric": False, "num_bins": 256},
}
# Activations of one sample lie in memory at once for a histogram: 512 MB.
_MOST_IN_SAMPLE = 128 << 20
# Numbers that go into the histograms of a method, over all samples: about a minute of one core.
_MOST_IN_ALL = 2 << 30
_LEAST_SAMPLES = 4


class Ranges:
    """Ranges of the tensors of one graph, each kind found once, as files that the quantizer reads."""

    def __init__(self, model: Path, scratch: Path, samples: Sequence[str], *, beside: bool) -> None:
        self._model = model
        self._scratch = scratch
        self._samples = samples
        self._beside = beside

    def file(self, kind: str) -> Path:
        """The ranges by a method. Raises ValueError: the activations are too many for histograms."""
        file = self._scratch / f"{kind}.json"
        if not file.exists():
            self._find(kind, file)
        return file

    def _find(self, kind: str, file: Path) -> None:
        samples = self._samples
        if kind != "minmax":
            samples = samples[: self._affordable()]
        calibrator = create_calibrator(
            self._model, None, augmented_model_path=str(self._scratch / f"{kind}-augmented.onnx"),
            calibrate_method=METHODS[kind], use_external_data_format=self._beside,
            extra_options=_OPTIONS[kind],
        )  # fmt: skip
        if kind != "minmax":
            calibrator.collector = self._collector(calibrator)
        for sample in samples:
            # One by one: all outputs of all samples would not fit into memory.
            calibrator.collect_data(_Reader([sample]))
        save_tensors_data(calibrator.compute_data(), file)

    def _affordable(self) -> int:
        """How many samples histograms are made of."""
        numbers = _activations(read(self._model), next(feeds(self._samples[:1])))
        count = min(len(self._samples), _MOST_IN_ALL // max(numbers, 1))
        if numbers > _MOST_IN_SAMPLE or count < min(_LEAST_SAMPLES, len(self._samples)):
            raise ValueError(f"not tried: {numbers / 1e6:.0f} million activations in a sample are too many")
        return count

    def _collector(self, calibrator: Any) -> Any:
        """With the bins of all samples from the start.

        onnxruntime's own begin with those of the first sample, and as many are added as a later one needs: where the
        first is all but empty, that is millions, and entropy takes the square of it.
        """
        collector = HistogramCollector(
            method=calibrator.method, symmetric=False, num_bins=calibrator.num_bins,
            num_quantized_bins=calibrator.num_quantized_bins, percentile=calibrator.percentile,
            scenario=calibrator.scenario,
        )  # fmt: skip
        for name, (low, high) in self._bounds().items():
            most = np.float32(max(abs(low), abs(high)))
            if name in calibrator.tensors_to_calibrate and most > 0:
                edges = np.linspace(-most, most, calibrator.num_bins + 1, dtype=np.float32)
                counts = np.zeros(calibrator.num_bins, np.int64)
                collector.histogram_dict[name] = (counts, edges, np.float32(low), np.float32(high), most)
        return collector

    def _bounds(self) -> dict[str, tuple[float, float]]:
        found = load_tensors_data(self.file("minmax"))
        return {name: (float(np.min(data.lowest)), float(np.max(data.highest))) for name, data in found.items()}


def _activations(model: Any, feed: dict[str, Any]) -> int:
    """Numbers that all operators give out for one sample, those of a shape that is only found at run time left out."""
    for value in model.graph.input:
        if value.name in feed:
            for dim, number in zip(value.type.tensor_type.shape.dim, feed[value.name].shape, strict=False):
                dim.dim_value = number
    # What was inferred for open shapes contradicts.
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return sum(_numbers(value) for value in (*graph.value_info, *graph.output))


def _numbers(value: Any) -> int:
    kind = value.type.tensor_type
    known = kind.elem_type == TensorProto.FLOAT and kind.HasField("shape")
    return math.prod(dim.dim_value for dim in kind.shape.dim) if known else 0


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Samples, as onnxruntime's calibration asks for them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._items: Iterator[dict[str, Any]] = feeds(paths)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._items, None)
