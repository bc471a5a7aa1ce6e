"""Beside the scripts of graphs: runs an ONNX file on samples and sums up how far two runs are apart.

Rule: what is summed is enough to judge every output as a whole, channel by channel, and by its first choice; limits are
edgec's business.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from faults import FaultError, blaming_the_model

# More channels than this have no sums of their own: then none of them is a class or a coordinate.
_MOST_CHANNELS = 4096
_DIGITS = 7
# Of the largest value: what one and the same model may differ from itself.
_SAME = 1e-3
_REPAIR = "repair the model, or give samples of its use: what it gives itself cannot be compared with"
_LEAST_SPREAD = 1e-11


def open_session(path: Path, threads: int) -> Any:
    """A session on the CPU, its threads not spinning while they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Samples as edgec wrote them."""
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            yield {name: arrays[name] for name in arrays.files}


class Reference:
    """The outputs of the float32 graph on samples, kept in files: all at once may be more than memory.

    Raises FaultError where it cannot be run, gives what is no number, or another answer to the same sample.
    """

    def __init__(self, path: Path, samples: Sequence[str], folder: Path, threads: int) -> None:
        session = open_session(path, threads)
        self.samples = samples
        self.names = [value.name for value in session.get_outputs()]
        self.files: list[Path] = []
        self.seconds = 0.0
        digests = set()
        no_numbers = NoNumbers(self.names)
        for number, feed in enumerate(feeds(samples)):
            started = time.process_time()
            with blaming_the_model("the model cannot be run on a sample", _REPAIR):
                outputs = session.run(None, feed)
            self.seconds += time.process_time() - started
            if number == 0:
                require_the_same(self.names, outputs, session.run(None, feed))
            no_numbers.add(outputs)
            digests.add(hashlib.sha256(b"".join(np.ascontiguousarray(o).tobytes() for o in outputs)).digest())
            self.files.append(folder / f"reference-{number:05d}.npz")
            np.savez(self.files[-1], *outputs)
        no_numbers.refuse()
        self.different = len(digests)

    def outputs(self) -> Iterator[list[Any]]:
        """The outputs of each sample, in order."""
        for file in self.files:
            with np.load(file, allow_pickle=False) as arrays:
                yield [arrays[f"arr_{i}"] for i in range(len(self.names))]


class NoNumbers:
    """Counts samples for which the model itself gives NaN."""

    def __init__(self, names: Sequence[str]) -> None:
        self._found = dict.fromkeys(names, 0)
        self._samples = 0

    def add(self, outputs: Sequence[Any]) -> None:
        """One sample."""
        self._samples += 1
        for name, output in zip(self._found, outputs, strict=True):
            self._found[name] += bool(output.dtype.kind == "f" and np.isnan(output).any())

    def refuse(self) -> None:
        """Raises FaultError, naming the first output."""
        for name, count in self._found.items():
            if count:
                raise FaultError(
                    f"the model itself gives NaN in `{name}` for {count} of {self._samples} samples", _REPAIR
                )


def require_the_same(names: Sequence[str], once: Sequence[Any], again: Sequence[Any]) -> None:
    """Raises FaultError where a model differs from itself on one sample."""
    for name, one, other in zip(names, once, again, strict=True):
        near = one.shape == other.shape
        if near and one.dtype.kind == "f":
            finite = one[np.isfinite(one)]
            largest = float(np.abs(finite).max()) if finite.size else 0.0
            near = np.allclose(one, other, rtol=0, atol=_SAME * largest, equal_nan=True)
        elif near:
            near = bool((one == other).all())
        if not near:
            raise FaultError(f"the model gives another `{name}` each time it runs on the same sample", _REPAIR)


def compare(reference: Reference, path: Path, threads: int) -> tuple[list[dict[str, Any]], float]:
    """What each output of the model at `path` sums up to beside the reference's, and the CPU seconds it ran."""
    session = open_session(path, threads)
    names = [value.name for value in session.get_outputs()]
    if names != reference.names:
        raise ValueError(f"other outputs: {', '.join(names)}")
    sums = [OutputSums(name) for name in names]
    seconds = 0.0
    for feed, wanted in zip(feeds(reference.samples), reference.outputs(), strict=True):
        started = time.process_time()
        found = session.run(None, feed)
        seconds += time.process_time() - started
        for one, want, got in zip(sums, wanted, found, strict=True):
            one.add(want, got)
    return [one.answer() for one in sums], seconds


class OutputSums:
    """Sums over samples of one output."""

    def __init__(self, name: str) -> None:
        self._answer: dict[str, Any] = {
            "name": name, "samples": 0, "other_shape": 0, "not_finite": 0, "cosines": [], "errors": [],
            "rows": 0, "same_first": 0, "elements": 0, "same_elements": 0,
        }  # fmt: skip
        self._channels: dict[str, Any] | None = None
        # Of the source's outputs and of the errors, over all samples: how far samples are apart, and how far off.
        self._total: Any = None
        self._squares, self._errors = 0.0, 0.0

    def add(self, want: Any, got: Any) -> None:
        """One sample."""
        answer = self._answer
        answer["samples"] += 1
        if want.shape != got.shape:
            answer["other_shape"] += 1
            return
        if want.dtype.kind != "f":
            answer["elements"] += want.size
            answer["same_elements"] += int((want == got).sum())
            return
        infinite = np.isinf(want)
        if not np.array_equal(want[infinite], got[infinite]) or not np.isfinite(got[~infinite]).all():
            answer["not_finite"] += 1
            return
        if want.ndim == 2 and want.shape[1] > 1:
            answer["rows"] += want.shape[0]
            answer["same_first"] += int((want.argmax(axis=1) == got.argmax(axis=1)).sum())
        # Equal infinities, as masks have them, are no error; the rest is compared.
        want, got = (np.where(infinite, 0.0, values.astype(np.float64)) for values in (want, got))
        scale, size = float(np.linalg.norm(want)), float(np.linalg.norm(got))
        dot = float((want * got).sum())
        both_zero = scale == 0 and size == 0
        answer["cosines"].append(1.0 if both_zero else round(dot / max(scale * size, 1e-300), 9))
        answer["errors"].append(0.0 if both_zero else float(np.linalg.norm(want - got)) / max(scale, 1e-300))
        self._add_channels(want, got)
        self._add_spread(want, got)

    def _add_spread(self, want: Any, got: Any) -> None:
        if self._total is None:
            self._total = np.zeros_like(want)
        if self._total.shape != want.shape:
            # Outputs of other sizes for other samples have no mean.
            self._squares = np.nan
            return
        self._total += want
        self._squares += float((want * want).sum())
        self._errors += float(((want - got) ** 2).sum())

    def _error_share(self) -> float | None:
        """The errors' squares as a share of those of the samples' distances from their mean; None without a spread."""
        count = len(self._answer["cosines"])
        if count < 2 or not np.isfinite(self._squares):
            return None
        spread = self._squares - float((self._total * self._total).sum()) / count
        # What is left of a difference of large numbers that are all but equal.
        return self._errors / spread if spread > _LEAST_SPREAD * self._squares else None

    def _add_channels(self, want: Any, got: Any) -> None:
        axis = channel_axis(want.shape)
        if axis is None:
            return
        others = tuple(i for i in range(want.ndim) if i != axis)
        now = {
            "dot": (want * got).sum(axis=others),
            "want": (want * want).sum(axis=others),
            "got": (got * got).sum(axis=others),
        }
        peak = np.abs(want).max(axis=others)
        if self._channels is None:
            self._channels = {**now, "peak": peak}
        elif len(peak) == len(self._channels["peak"]):
            for name, values in now.items():
                self._channels[name] += values
            self._channels["peak"] = np.maximum(self._channels["peak"], peak)

    def answer(self) -> dict[str, Any]:
        """As JSON."""
        channels = self._channels or {}
        short = {name: [float(f"{v:.{_DIGITS}g}") for v in values] for name, values in channels.items()}
        return {**self._answer, "channels": short, "error_share": self._error_share()}


def channel_axis(shape: Sequence[int]) -> int | None:
    """The axis along which an output holds different things: classes, coordinates; None where it is not known."""
    if len(shape) < 2:
        return None
    if len(shape) == 3:
        axis = 1 if shape[1] <= shape[2] else 2
    elif len(shape) == 4:
        axis = 3 if shape[1] == shape[2] != shape[3] else 1
    else:
        axis = 1 if len(shape) == 2 else len(shape) - 1
    return axis if 1 < shape[axis] <= _MOST_CHANNELS else None
