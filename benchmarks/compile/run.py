"""Compile a model's shape with llama.cpp (convert_hf_to_gguf.py, then llama-quantize) and with edgec, side by side.

Prints a markdown table and writes the same as JSON. Every step is a process of its own; CPU seconds, peak memory and
bytes written are the kernel's (wait4). The tensor data of both sides are compared at the end: they must be equal.

Usage: EDGEC_LLAMA_CPP=<folder> python benchmarks/compile/run.py qwen2-0.5b [--schemes q4_0 q8_0 q4_k_m] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

_HERE = Path(__file__).parent
_TARGETS = {"q4_0": 0.45, "q8_0": 0.45, "q4_k_m": 0.8}
_MAX_RSS_MB = 300
_MAX_WRITTEN = 1.02


@dataclass(frozen=True)
class Cost:
    """What processes took: CPU and wall in seconds, memory and writes in 1e6 bytes."""

    cpu_s: float
    wall_s: float
    peak_rss_mb: float
    written_mb: float

    def then(self, other: Cost) -> Cost:
        """Both, one after the other."""
        return Cost(
            self.cpu_s + other.cpu_s,
            self.wall_s + other.wall_s,
            max(self.peak_rss_mb, other.peak_rss_mb),
            self.written_mb + other.written_mb,
        )


def measure(command: list[str | Path], log: Path) -> Cost:
    """Run `command` to its end. Raises RuntimeError with its last lines when it fails."""
    begin = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{log.read_text(errors='replace')[-3000:]}")
    # ru_maxrss counts KiB, ru_oublock blocks of 512 bytes.
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.monotonic() - begin,
        peak_rss_mb=usage.ru_maxrss * 1024 / 1e6,
        written_mb=usage.ru_oublock * 512 / 1e6,
    )


def compare_tensors(ours: Path, theirs: Path) -> int:
    """The number of tensors, all equal in name, type and bytes. Raises RuntimeError at the first that is not."""
    script = (
        "import sys; from pathlib import Path; from edgec.formats.gguf.reader import read_gguf_header as read\n"
        "a, b = map(Path, sys.argv[1:]); x, y = read(a).tensors, read(b).tensors; f, g = a.open('rb'), b.open('rb')\n"
        "assert list(x) == list(y), set(x) ^ set(y)\n"
        "for n in x:\n"
        "    f.seek(x[n].offset); g.seek(y[n].offset)\n"
        "    assert x[n].type is y[n].type and f.read(x[n].nbytes) == g.read(y[n].nbytes), n\n"
        "print(len(x))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, ours, theirs], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the files differ: {done.stderr[-500:]}")
    return int(done.stdout)


def run(shape: str, schemes: list[str], peer: Path, work: Path) -> dict[str, object]:
    """Measure all `schemes`; the peer's conversion is done once and counted for each."""
    source = work / shape
    script = f"import sys; sys.path.insert(0, {str(_HERE)!r}); import shapes; from pathlib import Path; "
    if not source.exists():
        make = script + f"shapes.write_checkpoint(Path({str(source)!r}), {shape!r})"
        subprocess.run([sys.executable, "-c", make], check=True)
    converted = work / "converted.gguf"
    convert = measure(
        [
            sys.executable, _HERE / "convert_peer.py", peer, "qwen2", source,
            "--outtype", "bf16", "--outfile", converted,
        ],
        work / "log",
    )  # fmt: skip
    rows = []
    for scheme in schemes:
        theirs, folder = work / "theirs.gguf", work / "ours"
        quantize = measure([peer / "bin" / "llama-quantize", converted, theirs, scheme], work / "log")
        shutil.rmtree(folder, ignore_errors=True)
        ours = measure([sys.executable, _HERE / "compile_once.py", source, folder, scheme], work / "log")
        output_mb = (folder / "model.gguf").stat().st_size / 1e6
        tensors = compare_tensors(folder / "model.gguf", theirs)
        rows.append(
            {
                "scheme": scheme,
                "output_mb": output_mb,
                "equal_tensors": tensors,
                "peer_quantize": asdict(quantize),
                "peer": asdict(convert.then(quantize)),
                "edgec": asdict(ours),
            }
        )
        theirs.unlink()
    versions = {
        "peer": (peer / "PEER_VERSION").read_text().strip(),
        **{name: version(name) for name in ("xllamacpp", "numpy", "torch", "transformers")},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    }
    return {"shape": shape, "versions": versions, "peer_convert": asdict(convert), "rows": rows}


def table(result: dict[str, object]) -> str:
    """`result` as markdown."""
    lines = [
        f"### {result['shape']}",
        "",
        ", ".join(f"{k}: {v}" for k, v in result["versions"].items()),
        "",
        "| scheme | output MB | CPU s peer / edgec | ratio (target) | wall s peer / edgec | ratio |"
        " peak RSS MB peer / edgec | written MB peer / edgec | edgec written : output | equal tensors |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        theirs, ours = row["peer"], row["edgec"]
        cpu, wall = ours["cpu_s"] / theirs["cpu_s"], ours["wall_s"] / theirs["wall_s"]
        lines.append(
            f"| {row['scheme']} | {row['output_mb']:.1f} | {theirs['cpu_s']:.1f} / {ours['cpu_s']:.1f} "
            f"| {cpu:.2f} (<= {_TARGETS.get(row['scheme'], 1.0)}) | {theirs['wall_s']:.1f} / {ours['wall_s']:.1f} "
            f"| {wall:.2f} | {theirs['peak_rss_mb']:.0f} / {ours['peak_rss_mb']:.0f} "
            f"| {theirs['written_mb']:.0f} / {ours['written_mb']:.0f} | {ours['written_mb'] / row['output_mb']:.3f} "
            f"| {row['equal_tensors']} |"
        )
    return "\n".join(lines)


def misses(result: dict[str, object]) -> list[str]:
    """Every number that misses its target."""
    found = []
    for row in result["rows"]:
        theirs, ours, scheme = row["peer"], row["edgec"], row["scheme"]
        if ours["cpu_s"] > _TARGETS.get(scheme, 1.0) * theirs["cpu_s"]:
            found.append(f"{scheme}: CPU {ours['cpu_s']:.1f} s of {theirs['cpu_s']:.1f} s")
        if ours["peak_rss_mb"] > _MAX_RSS_MB:
            found.append(f"{scheme}: peak RSS {ours['peak_rss_mb']:.0f} MB")
        if ours["written_mb"] > _MAX_WRITTEN * row["output_mb"]:
            found.append(f"{scheme}: {ours['written_mb']:.0f} MB written for {row['output_mb']:.0f} MB")
    return found


def main() -> None:
    """Run, print, write JSON beside the other files; exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=("qwen2-0.5b", "llama-3.2-1b"))
    parser.add_argument("--schemes", nargs="+", default=list(_TARGETS))
    parser.add_argument("--work", type=Path, help="keeps the checkpoint and outputs here")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    arguments = parser.parse_args()
    peer = Path(os.environ["EDGEC_LLAMA_CPP"])
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        result = run(arguments.shape, arguments.schemes, peer, work)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if found := misses(result):
        print("\nmissed: " + "; ".join(found))
        sys.exit(1)


if __name__ == "__main__":
    main()
