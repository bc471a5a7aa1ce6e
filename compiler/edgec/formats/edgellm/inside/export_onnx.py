"""Runs in the toolchain's environment: Edge-LLM's own exporter, from a checkpoint's folder to ONNX files.

Rule: what is left in model.onnx is what the device's builder reads. The exporter writes each operation's place in its
own source into it, with the paths of this machine; that is taken out, so that the same input gives the same bytes.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from tensorrt_edgellm import AutoModel, __version__, export_onnx

_STEPS = 3
_WATCH_S = 0.02


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `out`: folders; `version`: what the exporter must be.

    Answers versions, and the peak of memory that cannot be dropped: mapped files can.
    """
    watch = _MemoryWatch()
    watch.start()
    os.umask(0o022)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if __version__ != request["version"]:
        raise SystemExit(f"the exporter is Edge-LLM {__version__}, and {request['version']} was planned")
    progress(0, _STEPS, "steps", "loading and repacking the weights")
    # Without low_cpu_mem_usage, every weight would be made twice, once at random.
    model = AutoModel.from_pretrained(request["checkpoint"], device="cpu", low_cpu_mem_usage=True)
    progress(1, _STEPS, "steps", "writing the graph and the weights")
    path = Path(request["out"]) / "model.onnx"
    export_onnx(model, str(path), model_dir=request["checkpoint"])
    del model
    gc.collect()
    progress(2, _STEPS, "steps", "taking out debug data")
    _strip(path)
    versions = {"edgellm": __version__, "torch": torch.__version__, "onnx": onnx.__version__}
    return {"versions": versions, "anonymous_mib": watch.peak_mib}


def _strip(path: Path) -> None:
    """Removes where each operation and value comes from; weights stay in their file."""
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    # `2.13.0+cpu` on one machine is `2.13.0` on another.
    model.producer_version = model.producer_version.partition("+")[0]
    path.write_bytes(model.SerializeToString(deterministic=True))


class _MemoryWatch(threading.Thread):
    """Looks often at the memory that cannot be dropped: the kernel keeps no peak of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="memory watch")
        self.peak_mib = 0

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.peak_mib = max(self.peak_mib, _anonymous_mib())
            time.sleep(_WATCH_S)


def _anonymous_mib() -> int:
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("RssAnon:"))
