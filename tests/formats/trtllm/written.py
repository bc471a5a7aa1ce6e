"""Writes checkpoints for tests."""

from __future__ import annotations

from pathlib import Path

from edgec.events import silent
from edgec.formats.trtllm.fill import KvRanges
from edgec.formats.trtllm.layout import TrtLlmLayout, plan_trtllm
from edgec.formats.trtllm.schemes import KvCache
from edgec.formats.trtllm.write import write_trtllm
from edgec.quantize.weights import open_weights
from edgec.source.model import Checkpoint


def write(
    checkpoint: Checkpoint,
    scheme: str,
    out: Path,
    *,
    version: str = "0.12.0",
    kv_cache: KvCache = "fp16",
    kv_ranges: KvRanges | None = None,
    threads: int | None = None,
) -> TrtLlmLayout:
    """Plan and write `checkpoint` into the folder `out`, which is made."""
    layout = plan_trtllm(checkpoint.header, scheme=scheme, version=version, kv_cache=kv_cache)
    out.mkdir()
    with open_weights(checkpoint) as weights:
        write_trtllm(weights, layout, out, kv_ranges=kv_ranges, report=silent, action="test", threads=threads)
    return layout
