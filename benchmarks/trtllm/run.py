"""Write TensorRT-LLM checkpoints of a model's shape, and copy files of the same size, in turns.

The copy reads and writes with 8 MiB at a time and ends with fsync, as the writer does: what a disk and its cache allow.
Each is a process of its own. Prints a markdown table and writes the same as JSON; exit 1 when the memory limit is
missed.

Usage: python benchmarks/trtllm/run.py llama-3.2-1b [--schemes fp16 int4_awq int8_sq] [--turns 3] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent / "compile"))

from measure import Cost, measure  # noqa: E402  # of the benchmark beside this one
from shapes import CONFIGS, disk_bytes, make_checkpoint, refuse_small_disk  # noqa: E402

_MAX_RSS_MB = 400
_SOURCES = {"fp16": "plain", "int8_wo": "plain", "int4_wo": "plain", "int4_awq": "awq", "int8_sq": "smoothquant"}


def sources(work: Path, shape: str, schemes: Sequence[str]) -> dict[str, Path]:
    """The checkpoints that `schemes` are made from: random BF16, random codes."""
    plain = make_checkpoint(work, shape)
    found = {"plain": plain}
    for kind in {_SOURCES[s] for s in schemes} - {"plain"}:
        found[kind] = work / f"{shape}-{kind}"
        if not found[kind].exists():
            measure([sys.executable, _HERE / "random_codes.py", plain, found[kind], kind], work / "log")
    return found


def turn(source: Path, scheme: str, work: Path) -> tuple[Cost, Cost, int, int]:
    """One write and one copy of what was written: costs, bytes of the output and of the source."""
    out, log = work / "out", work / "log"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    wrote = measure([sys.executable, _HERE / "write_once.py", source, out, scheme], log, threads=os.cpu_count() or 1)
    written = out / "rank0.safetensors"
    copied = measure([sys.executable, _HERE / "copy_once.py", written, work / "copy"], log)
    sizes = written.stat().st_size, sum(p.stat().st_size for p in source.glob("*.safetensors"))
    (work / "copy").unlink()
    shutil.rmtree(out)
    return wrote, copied, *sizes


def run(shape: str, schemes: Sequence[str], turns: int, work: Path) -> dict[str, Any]:
    """Measure `schemes`; the medians of `turns`."""
    found = sources(work, shape, schemes)
    rows = []
    for scheme in schemes:
        taken = [turn(found[_SOURCES[scheme]], scheme, work) for _ in range(turns)]
        wrote, copied = [t[0] for t in taken], [t[1] for t in taken]
        output_mb = taken[0][2] / 1e6
        rows.append(
            {
                "scheme": scheme,
                "source_mb": taken[0][3] / 1e6,
                "output_mb": output_mb,
                "write_mb_s": output_mb / statistics.median(c.wall_s for c in wrote),
                "copy_mb_s": output_mb / statistics.median(c.wall_s for c in copied),
                "write_wall_s": [round(c.wall_s, 2) for c in wrote],
                "copy_wall_s": [round(c.wall_s, 2) for c in copied],
                "write_waited_s": [round(c.waited_s, 2) for c in wrote],
                "write_cpu_s": statistics.median(c.cpu_s for c in wrote),
                "peak_rss_mb": max(c.peak_rss_mb for c in wrote),
            }
        )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    versions = {"numpy": version("numpy"), "python": platform.python_version(), "machine": machine}
    return {"shape": shape, "turns": turns, "versions": versions, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """`result` as markdown."""
    lines = [
        f"### {result['shape']}, median of {result['turns']}",
        "",
        ", ".join(f"{k}: {v}" for k, v in result["versions"].items()),
        "",
        "| scheme | source MB | output MB | output MB/s | copy MB/s | CPU s | peak RSS MB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['scheme']} | {r['source_mb']:.0f} | {r['output_mb']:.0f} | {r['write_mb_s']:.0f} | {r['copy_mb_s']:.0f} "
        f"| {r['write_cpu_s']:.1f} | {r['peak_rss_mb']:.0f} |"
        for r in result["rows"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Run, print, write JSON beside the other files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=sorted(CONFIGS))
    parser.add_argument("--schemes", nargs="+", choices=sorted(_SOURCES), default=["fp16", "int4_awq", "int8_sq"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--work", type=Path, help="keeps the checkpoints here")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        refuse_small_disk(work, 5 * disk_bytes(given.shape))
        result = run(given.shape, given.schemes, given.turns, work)
    print(table(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    if over := [r["scheme"] for r in result["rows"] if r["peak_rss_mb"] > _MAX_RSS_MB]:
        sys.exit(f"more than {_MAX_RSS_MB} MB: {', '.join(over)}")


if __name__ == "__main__":
    main()
