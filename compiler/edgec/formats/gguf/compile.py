"""The streaming compile: one pass from safetensors to all GGUFs wanted, in constant memory, on all cores, resumable.

Rule: a slab is read once, whatever number of outputs wants it, and not at all when none does. Slabs are handed out in
file order and may finish in any. Whatever goes wrong in one worker stops all of them within a slab.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from edgec.documents.canonical import sha256_json
from edgec.events import Reporter
from edgec.formats.gguf import ggml, journal
from edgec.formats.gguf.imatrix_file import Imatrix
from edgec.formats.gguf.journal import TensorResult
from edgec.formats.gguf.layout import GgufLayout, TensorPlan
from edgec.formats.gguf.model import TensorMapping
from edgec.formats.gguf.sink import CompiledGguf, GgufJob, Sink
from edgec.formats.gguf.slabs import Encoding, Slab, SlabWorker, slabs_of
from edgec.formats.gguf.types import TensorType
from edgec.source.model import Checkpoint, TensorInfo
from edgec.source.reader import TensorReader
from edgec.source.unchanged import weight_stamps
from edgec.toolchain.cores import usable_cores

# Slabs the disk is told of before they are read: some MB, which pass while the workers quantize the slabs before them.
_SLABS_AHEAD = 16


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
    job = GgufJob(layout, folder, imatrix, action)
    (compiled,) = compile_together(checkpoint, [job], report=report, threads=threads)
    journal.forget(folder)
    return compiled


def compile_together(
    checkpoint: Checkpoint, jobs: Sequence[GgufJob], *, report: Reporter, threads: int | None = None
) -> tuple[CompiledGguf, ...]:
    """Do `jobs` (each with a folder of its own) with one read of the checkpoint; as `compile_gguf` for each of them.

    Each folder holds its journal as well then: until the files are moved away, the next run finds them finished.
    """
    ggml.load()
    stop = threading.Event()
    with contextlib.ExitStack() as opened:
        sinks = [
            opened.enter_context(Sink(job, _journal_key(checkpoint, job.layout, job.imatrix), report, stop))
            for job in jobs
        ]
        reader = opened.enter_context(TensorReader(checkpoint))
        _Pass(sinks, reader, stop).execute([SlabWorker(reader) for _ in range(threads or usable_cores())])
        return tuple(sink.finish() for sink in sinks)


def _journal_key(checkpoint: Checkpoint, layout: GgufLayout, imatrix: Imatrix | None) -> str:
    sources = [[f.name, f.digest] for f in checkpoint.header.identity.files]
    # The digests say what was planned; the stamps, that what is listed was read from these very files.
    stamps = weight_stamps(checkpoint)
    return sha256_json([layout.digest, sources, stamps, imatrix.digest if imatrix is not None else None])


@dataclass(frozen=True)
class _Share:
    """One encoding of a tensor, and all outputs that want exactly it."""

    encoding: Encoding
    takers: list[tuple[Sink, TensorPlan]] = field(default_factory=list)


def _shares(sinks: Sequence[Sink]) -> dict[tuple[TensorMapping, TensorInfo | None], list[_Share]]:
    """What is wanted of each tensor of the source, in the order of the output that lacks most."""
    found: dict[tuple[TensorMapping, TensorInfo | None], dict[tuple[TensorType, str | None], _Share]] = {}
    for sink in sorted(sinks, key=lambda s: -len(s.left)):
        matrix = sink.job.imatrix.digest if sink.job.imatrix is not None else None
        for tensor in sink.left:
            encodings = found.setdefault((tensor.mapping, tensor.source), {})
            share = encodings.setdefault((tensor.type, matrix), _Share(sink.encoding(tensor)))
            share.takers.append((sink, tensor))
    return {tensor: list(encodings.values()) for tensor, encodings in found.items()}


# A piece of work for a worker, whose buffers it may use.
_Task = Callable[[SlabWorker], None]


def _begin(sink: Sink, _worker: SlabWorker) -> None:
    sink.begin()


class _Pass:
    """One pass over the tensors that any of `sinks` lacks. `stop`: set when the pass ends, however it does."""

    def __init__(self, sinks: Sequence[Sink], reader: TensorReader, stop: threading.Event) -> None:
        self._sinks = sinks
        self._reader = reader
        self._stop = stop
        self._lock = threading.Lock()
        self._tasks = self._all_tasks()
        self._finished: SimpleQueue[tuple[Sink, TensorResult] | None] = SimpleQueue()

    def execute(self, slab_workers: Sequence[SlabWorker]) -> None:
        """Run all workers to the end, each in a thread; this thread keeps the journals. Raises what a worker raised."""
        with ThreadPoolExecutor(len(slab_workers), thread_name_prefix="compile") as pool:
            # Within the try: an interruption while the first already work must stop them as well.
            try:
                workers = [pool.submit(self._run_worker, worker) for worker in slab_workers]
                for worker in workers:
                    worker.add_done_callback(self._worker_ended)
                running = len(workers)
                while running:
                    finished = self._finished.get()
                    if finished is None:
                        running -= 1
                    else:
                        sink, result = finished
                        sink.keep(result)
            finally:
                self._stop.set()
        for worker in workers:
            worker.result()

    def _worker_ended(self, worker: Future[None]) -> None:
        if worker.exception() is not None:
            self._stop.set()
        self._finished.put(None)

    def _all_tasks(self) -> Iterator[_Task]:
        for sink in self._sinks:
            yield partial(_begin, sink)
        ahead: deque[_Task] = deque()
        for (mapping, source), shares in _shares(self._sinks).items():
            for slab in slabs_of(mapping, source):
                if source is not None:
                    self._reader.expect(source, *slab.source_range)
                ahead.append(partial(self._make, slab, shares))
                if len(ahead) > _SLABS_AHEAD:
                    yield ahead.popleft()
        yield from ahead

    def _run_worker(self, worker: SlabWorker) -> None:
        while not self._stop.is_set():
            with self._lock:
                task = next(self._tasks, None)
            if task is None:
                return
            task(worker)

    def _make(self, slab: Slab, shares: Sequence[_Share], worker: SlabWorker) -> None:
        encoded_slabs = worker.process(slab, [share.encoding for share in shares])
        for share, encoded in zip(shares, encoded_slabs, strict=True):
            for sink, tensor in share.takers:
                result = sink.take(tensor, slab, encoded)
                if result is not None:
                    self._finished.put((sink, result))
