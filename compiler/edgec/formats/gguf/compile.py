"""The streaming compile: one pass from safetensors to GGUF, in constant memory, on all cores, resumable.

Rule: slabs are handed out in file order and may finish in any; digests see them in order. Whatever goes wrong in one
worker stops all of them within a slab.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from edgec.documents.canonical import sha256_file, sha256_json
from edgec.events import Progress, Reporter
from edgec.formats.gguf import ggml
from edgec.formats.gguf.imatrix_file import Imatrix, importance_of
from edgec.formats.gguf.journal import Journal, TensorResult
from edgec.formats.gguf.kernels import choose_quantize
from edgec.formats.gguf.layout import GgufLayout, TensorPlan
from edgec.formats.gguf.output import OutputFiles
from edgec.formats.gguf.slabs import Slab, SlabResult, SlabWorker, slabs_of
from edgec.source.model import Checkpoint
from edgec.source.reader import TensorReader
from edgec.source.unchanged import weight_stamps
from edgec.toolchain.cores import usable_cores


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


def compile_gguf(
    checkpoint: Checkpoint,
    layout: GgufLayout,
    folder: Path,
    *,
    imatrix: Imatrix | None,
    report: Reporter,
    action: str,
    threads: int | None = None,
) -> CompiledGguf:
    """Write the files of `layout` into `folder`, which may hold the remains of a killed run; they are used again.

    When it returns, `folder` holds the finished, durable files and nothing else of ours; move it then. `threads`: by
    default all cores of this process. Raises InputError for weights or an importance matrix that cannot be used,
    ToolError when the disk or ggml fails; the folder can be resumed after both.
    """
    ggml.load()
    importance = importance_of(imatrix, layout.tensors) if imatrix is not None else {}
    key = _journal_key(checkpoint, layout, imatrix)
    with OutputFiles(folder, layout) as outputs, TensorReader(checkpoint) as reader:
        journal = Journal(folder, key, outputs)
        done = journal.resume({t.name: t for t in layout.tensors})
        outputs.sync_folder()
        run = _Run(layout=layout, importance=importance, outputs=outputs, report=report, action=action, done=done)
        quantize = choose_quantize(layout.tensors, importance, report)
        count = threads or usable_cores()
        results = run.execute([SlabWorker(reader, quantize) for _ in range(count)], journal)
        journal.sync()
    files = tuple(CompiledFile(f.name, f.size_bytes, sha256_file(folder / f.name)) for f in layout.files)
    journal.remove()
    return CompiledGguf(files, tuple(_compiled(t, results[t.name]) for t in layout.tensors))


def _journal_key(checkpoint: Checkpoint, layout: GgufLayout, imatrix: Imatrix | None) -> str:
    sources = [[f.name, f.digest] for f in checkpoint.header.identity.files]
    # The digests say what was planned; the stamps, that what is listed was read from these very files.
    stamps = weight_stamps(checkpoint)
    return sha256_json([layout.digest, sources, stamps, imatrix.digest if imatrix is not None else None])


def _compiled(tensor: TensorPlan, result: TensorResult) -> CompiledTensor:
    rmse = math.sqrt(result.error_sum / result.source_sum) if result.source_sum else 0.0
    return CompiledTensor(tensor.name, tensor.type.label, tensor.elements, tensor.nbytes, result.sha256, rmse)


@dataclass
class _TensorSum:
    """Digest and error of one tensor, taken over its slabs in order however they arrive."""

    tensor: TensorPlan
    count: int
    next_index: int = 0
    error_sum: float = 0.0
    source_sum: float = 0.0
    waiting: dict[int, SlabResult] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, slab: Slab, result: SlabResult) -> bool:
        """Take a finished slab; True when it was the tensor's last."""
        with self.lock:
            if slab.index != self.next_index:
                # The worker uses its buffer again. At most one slab per worker waits: they are handed out in order.
                copy = memoryview(bytes(result.data))
                self.waiting[slab.index] = SlabResult(copy, result.error_sum, result.source_sum)
                return False
            self._take(result)
            while (next_result := self.waiting.pop(self.next_index, None)) is not None:
                self._take(next_result)
            return self.next_index == self.count

    def _take(self, result: SlabResult) -> None:
        self._digest.update(result.data)
        self.error_sum += result.error_sum
        self.source_sum += result.source_sum
        self.next_index += 1

    def result(self) -> TensorResult:
        """The finished tensor."""
        digest = f"sha256:{self._digest.hexdigest()}"
        return TensorResult(self.tensor.name, self.tensor.nbytes, digest, self.error_sum, self.source_sum)


class _Run:
    """One pass over the tensors that are not `done` yet."""

    def __init__(
        self,
        *,
        layout: GgufLayout,
        importance: Mapping[str, NDArray[np.float32]],
        outputs: OutputFiles,
        report: Reporter,
        action: str,
        done: Mapping[str, TensorResult],
    ) -> None:
        self._importance = importance
        self._outputs = outputs
        self._report = report
        self._action = action
        self._results = dict(done)
        self._left = [t for t in layout.tensors if t.name not in done]
        self._total = sum(t.nbytes for t in layout.tensors)
        self._written = self._total - sum(t.nbytes for t in self._left)
        self._work = self._slabs()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._finished: SimpleQueue[TensorResult | None] = SimpleQueue()

    def execute(self, slab_workers: Sequence[SlabWorker], journal: Journal) -> dict[str, TensorResult]:
        """Run all workers to the end, each in a thread; this thread keeps the journal. Raises what a worker raised."""
        with ThreadPoolExecutor(len(slab_workers), thread_name_prefix="compile") as pool:
            # Within the try: an interruption while the first already work must stop them as well.
            try:
                workers = [pool.submit(self._run_worker, worker) for worker in slab_workers]
                for worker in workers:
                    worker.add_done_callback(self._worker_ended)
                running = len(workers)
                while running:
                    result = self._finished.get()
                    if result is None:
                        running -= 1
                    else:
                        self._results[result.name] = result
                        journal.add(result)
            finally:
                self._stop.set()
        for worker in workers:
            worker.result()
        return self._results

    def _worker_ended(self, worker: Future[None]) -> None:
        if worker.exception() is not None:
            self._stop.set()
        self._finished.put(None)

    def _slabs(self) -> Iterator[tuple[_TensorSum, Slab]]:
        for tensor in self._left:
            slabs = slabs_of(tensor)
            total = _TensorSum(tensor, len(slabs))
            for slab in slabs:
                yield total, slab

    def _run_worker(self, worker: SlabWorker) -> None:
        while not self._stop.is_set():
            with self._lock:
                task = next(self._work, None)
            if task is None:
                return
            total, slab = task
            result = worker.process(slab, self._importance.get(slab.tensor.name))
            self._outputs.write(slab.tensor.file, result.data, slab.offset)
            if total.add(slab, result):
                self._finished.put(total.result())
            self._tell(slab, result.data.nbytes)

    def _tell(self, slab: Slab, nbytes: int) -> None:
        with self._lock:
            self._written += nbytes
            done = self._written
        self._report(Progress(self._action, done, self._total, "bytes", slab.tensor.name))
