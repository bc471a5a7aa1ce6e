"""Writes a TensorRT-LLM checkpoint as planned: streamed, on several cores, in constant memory, whole or not at all.

Rule: config.json comes last and rank0.safetensors under its name only when every tensor is in it, so that a killed run
leaves no checkpoint; the next run begins again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Progress, Reporter
from edgec.formats.trtllm.fill import KvRanges, Slab, kv_scales, slab_rows, slabs_of
from edgec.formats.trtllm.layout import CONFIG_FILE, WEIGHTS_FILE, TrtLlmLayout, kv_scale_names
from edgec.quantize.weights import Weights
from edgec.source.safetensors_file import SafetensorsFile
from edgec.store.atomic import explained, fsync_folder, write_file
from edgec.toolchain.cores import usable_cores

# Each holds a slab or two; more do not write faster than a disk.
_MAX_THREADS = 4
_PARTIAL = f"{WEIGHTS_FILE}.partial"


@dataclass(frozen=True)
class WrittenCheckpoint:
    """The files that were written, in the folder that was given."""

    files: tuple[str, ...]
    size_bytes: int


def write_trtllm(
    weights: Weights,
    layout: TrtLlmLayout,
    out: Path,
    *,
    kv_ranges: KvRanges | None = None,
    report: Reporter,
    action: str,
    threads: int | None = None,
) -> WrittenCheckpoint:
    """Write the checkpoint of `layout` into the folder `out`, which exists.

    `kv_ranges`: for an INT8 KV cache, the largest magnitudes of K and V in each layer. Raises InputError for weights
    that are no numbers, do not fit FP16 or signed codes, or have no common scale where one is needed; ToolError when
    the disk refuses.
    """
    scales = kv_scales(kv_scale_names(layout), kv_ranges)
    with SafetensorsFile(out / _PARTIAL, layout.file) as file:
        run = _Run(weights, layout, file, scales=scales, report=report, action=action)
        run.execute(threads or min(usable_cores(), _MAX_THREADS))
    with explained(out):
        (out / _PARTIAL).replace(out / WEIGHTS_FILE)
        fsync_folder(out)
    write_file(out / CONFIG_FILE, layout.config)
    return WrittenCheckpoint((CONFIG_FILE, WEIGHTS_FILE), layout.size_bytes)


class _Run:
    """One pass over all slabs; whatever goes wrong in one thread stops the others within a slab."""

    def __init__(
        self,
        weights: Weights,
        layout: TrtLlmLayout,
        file: SafetensorsFile,
        *,
        scales: Mapping[str, float],
        report: Reporter,
        action: str,
    ) -> None:
        self._weights, self._file, self._scales = weights, file, scales
        self._report, self._action = report, action
        self._total = sum(t.spec.nbytes for t in layout.tensors)
        self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._slabs: Iterator[Slab] = (slab for tensor in layout.tensors for slab in slabs_of(tensor))

    def execute(self, threads: int) -> None:
        """Write every slab. Raises what a thread raised."""
        with ThreadPoolExecutor(threads, thread_name_prefix="trtllm") as pool:
            # Within the try: an interruption while they work must stop them as well.
            try:
                runs = [pool.submit(self._work) for _ in range(threads)]
                for run in runs:
                    run.result()
            finally:
                self._stop.set()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    slab = next(self._slabs, None)
                if slab is None:
                    return
                self._write(slab)
        except BaseException:
            self._stop.set()
            raise

    def _write(self, slab: Slab) -> None:
        rows = slab_rows(slab, self._weights, self._scales)
        self._file.write(slab.tensor.spec.name, rows, slab.first_row)
        with self._lock:
            self._done += rows.nbytes
            done = self._done
        self._report(Progress(self._action, done, self._total, "bytes", slab.tensor.spec.name))
