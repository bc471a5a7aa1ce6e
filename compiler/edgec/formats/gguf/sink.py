"""One GGUF in the making: takes slabs in any order, keeps its files, journal, digests and progress.

Rule: what a sink holds depends only on its own job, so that outputs made together are resumed, changed and lost apart.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from edgec.events import Progress, Reporter
from edgec.formats.gguf.header import align
from edgec.formats.gguf.imatrix_file import Imatrix, importance_of
from edgec.formats.gguf.journal import Journal, TensorResult
from edgec.formats.gguf.kernels import choose_quantize
from edgec.formats.gguf.layout import GgufLayout, TensorPlan
from edgec.formats.gguf.output import OutputFiles
from edgec.formats.gguf.range_digest import RangeDigest
from edgec.formats.gguf.slabs import EncodedSlab, Encoding, Slab


@dataclass(frozen=True)
class GgufJob:
    """A GGUF to make in `folder`, which may hold the remains of a killed run. `action` names it in progress events."""

    layout: GgufLayout
    folder: Path
    imatrix: Imatrix | None
    action: str


@dataclass(frozen=True)
class CompiledFile:
    """A finished file. `sha256`: `sha256:<hex>`."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class CompiledTensor:
    """A finished tensor. `relative_rmse`: over a sample of rows, relative to the source's root mean square."""

    name: str
    type: str
    elements: int
    nbytes: int
    sha256: str
    relative_rmse: float


@dataclass(frozen=True)
class CompiledGguf:
    """What a compile made; tensors in file order."""

    files: tuple[CompiledFile, ...]
    tensors: tuple[CompiledTensor, ...]


@dataclass(frozen=True)
class _Unfinished:
    """Digest and errors of a tensor; the sums by slab, added up in order when all are there."""

    digest: RangeDigest
    sums: dict[int, tuple[float, float]] = field(default_factory=dict)

    def result(self, tensor: TensorPlan) -> TensorResult:
        error_sum = source_sum = 0.0
        # Not sum(), which rounds in another way from Python 3.12 on.
        for index in sorted(self.sums):
            error_sum += self.sums[index][0]
            source_sum += self.sums[index][1]
        return TensorResult(tensor.name, tensor.nbytes, self.digest.sha256, error_sum, source_sum)


class Sink:
    """One output of a pass. `key` stands for all its bytes depend on. Use as a context manager.

    Opening it reserves its room on the disk and finds what an earlier run finished. Raises InputError for an importance
    matrix that does not fit, ToolError when the disk refuses.
    """

    def __init__(self, job: GgufJob, key: str, report: Reporter, stop: threading.Event) -> None:
        self.job = job
        self._report = report
        self._importance = importance_of(job.imatrix, job.layout.tensors) if job.imatrix is not None else {}
        self._files = OutputFiles(job.folder, job.layout)
        try:
            self._journal = Journal(job.folder, key, self._files)
            self._results = self._journal.resume({t.name: t for t in job.layout.tensors})
            self._files.sync_folder()
            self.left: Sequence[TensorPlan] = [t for t in job.layout.tensors if t.name not in self._results]
            self._unfinished = {
                t.name: _Unfinished(RangeDigest(self._files, t.file, t.offset, t.offset + t.nbytes, stop))
                for t in self.left
            }
            self._file_digests = {
                f.name: RangeDigest(self._files, f.name, 0, f.size_bytes, stop) for f in job.layout.files
            }
            self._write_padding()
            self._quantize = choose_quantize(self.left, self._importance, report)
        except BaseException:
            self._files.close()
            raise
        self._total = sum(t.nbytes for t in job.layout.tensors)
        self._written = self._total - sum(t.nbytes for t in self.left)
        self._lock = threading.Lock()

    def _write_padding(self) -> None:
        for tensor in self.job.layout.tensors:
            end = tensor.offset + tensor.nbytes
            if padding := align(end) - end:
                # Of an earlier file of this name, there may be other bytes.
                self._files.write(tensor.file, bytes(padding), end)
                self._file_digests[tensor.file].note(end, padding)

    def encoding(self, tensor: TensorPlan) -> Encoding:
        """How this output wants the rows of `tensor`."""
        return Encoding(tensor.type, self._importance.get(tensor.name), self._quantize)

    def begin(self) -> None:
        """Hash the headers, and what an earlier run left behind them."""
        for tensor in self.job.layout.tensors:
            if tensor.name in self._results:
                self._file_digests[tensor.file].note(tensor.offset, tensor.nbytes)
        for file in self.job.layout.files:
            self._file_digests[file.name].add(0, file.header)

    def take(self, tensor: TensorPlan, slab: Slab, encoded: EncodedSlab) -> TensorResult | None:
        """Write a slab of `tensor`, from any thread; the tensor's result with its last one. Raises ToolError."""
        offset = tensor.offset + slab.first_row * tensor.type.row_bytes(tensor.columns)
        self._files.write(tensor.file, encoded.data, offset)
        unfinished = self._unfinished[tensor.name]
        unfinished.sums[slab.index] = (encoded.error_sum, encoded.source_sum)
        finished = unfinished.digest.add(offset, encoded.data)
        self._file_digests[tensor.file].add(offset, encoded.data)
        with self._lock:
            self._written += encoded.data.nbytes
            done = self._written
        self._report(Progress(self.job.action, done, self._total, "bytes", tensor.name))
        return unfinished.result(tensor) if finished else None

    def keep(self, result: TensorResult) -> None:
        """List a finished tensor in the journal; from one thread only. Raises ToolError."""
        self._results[result.name] = result
        self._journal.add(result)

    def finish(self) -> CompiledGguf:
        """Make everything durable. Raises ToolError."""
        self._journal.sync()
        # Once all threads are silent: what they told may have come in another order.
        self._report(Progress(self.job.action, self._total, self._total, "bytes"))
        layout = self.job.layout
        files = tuple(CompiledFile(f.name, f.size_bytes, self._file_digests[f.name].sha256) for f in layout.files)
        return CompiledGguf(files, tuple(_compiled(t, self._results[t.name]) for t in layout.tensors))

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._files.close()


def _compiled(tensor: TensorPlan, result: TensorResult) -> CompiledTensor:
    rmse = math.sqrt(result.error_sum / result.source_sum) if result.source_sum else 0.0
    return CompiledTensor(tensor.name, tensor.type.label, tensor.elements, tensor.nbytes, result.sha256, rmse)
