"""Compile a model's shape with llama.cpp (convert_hf_to_gguf.py, then llama-quantize) and with edgec, side by side.

Prints a markdown table and writes the same as JSON. Every step is a process of its own; CPU seconds, peak memory and
bytes written are the kernel's (wait4). The tensor data of both sides are compared at the end: they must be equal.

`--speed`: also how fast llama.cpp runs both files, in turns (speed_of.py).

Usage: EDGEC_LLAMA_CPP=<folder> python benchmarks/compile/run.py qwen2-0.5b [--schemes q4_0 q4_k_m+imatrix] [--work W]
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
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from measure import measure
from shapes import CONFIGS, disk_bytes, make_checkpoint, output_bytes, refuse_small_disk

_HERE = Path(__file__).parent
_TARGETS = {"q4_0": 0.45, "q8_0": 0.45, "q4_k_m": 0.8}
# Behind a scheme: with an importance matrix, of random numbers.
_WITH_MATRIX = "+imatrix"
_MAX_RSS_MB = 300
_MAX_WRITTEN = 1.02


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


def speed_of(ours: Path, theirs: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Tokens per second of our file and of a copy of theirs, each also as a share of theirs."""
    copy = theirs.with_name("copy.gguf")
    shutil.copyfile(theirs, copy)
    command = [sys.executable, _HERE / "speed_of.py", theirs, ours, copy]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    copy.unlink()
    found = json.loads(done.stdout)
    return {"edgec": found[str(ours)], "copy": found[str(copy)]}


def run(
    shape: str, schemes: list[str], peer: Path, work: Path, layers: int | None, *, speed: bool
) -> dict[str, object]:
    """Measure all `schemes`; the peer's conversion is done once and counted for each."""
    source = make_checkpoint(work, shape, layers=layers)
    converted = work / "converted.gguf"
    convert = measure(
        [
            sys.executable, _HERE / "convert_peer.py", peer, "qwen2", source,
            "--outtype", "bf16", "--outfile", converted,
        ],
        work / "log",
    )  # fmt: skip
    rows = []
    cores = len(os.sched_getaffinity(0))
    matrix = work / "imatrix.gguf"
    subprocess.run([sys.executable, _HERE / "random_imatrix.py", source, matrix], check=True)
    for name in schemes:
        scheme = name.removesuffix(_WITH_MATRIX)
        given = ["--imatrix", matrix] if scheme != name else []
        theirs, folder = work / "theirs.gguf", work / "ours"
        quantize = measure(
            [peer / "bin" / "llama-quantize", *given, converted, theirs, scheme], work / "log", threads=cores
        )
        shutil.rmtree(folder, ignore_errors=True)
        ours = measure(
            [sys.executable, _HERE / "compile_once.py", source, folder, scheme, *given], work / "log", threads=cores
        )
        output = folder / scheme / "model.gguf"
        output_mb = output.stat().st_size / 1e6
        tensors = compare_tensors(output, theirs)
        rows.append(
            {
                "scheme": name,
                "output_mb": output_mb,
                "equal_tensors": tensors,
                "peer_quantize": asdict(quantize),
                "peer": asdict(convert.then(quantize)),
                "edgec": asdict(ours),
                **({"speed": speed_of(output, theirs)} if speed else {}),
            }
        )
        theirs.unlink()
        shutil.rmtree(folder)
    converted.unlink()
    versions = {
        "peer": (peer / "PEER_VERSION").read_text().strip(),
        **{name: version(name) for name in ("xllamacpp", "numpy", "torch", "transformers")},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    }
    return {
        "shape": shape if layers is None else f"{shape}, {layers} layers",
        "versions": versions,
        "peer_convert": asdict(convert),
        "rows": rows,
    }


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
    for row in result["rows"]:
        for what, found in row["speed"]["edgec"].items() if "speed" in row else ():
            lines.append(
                f"\n{row['scheme']}, {what}: {found['per_s']} tokens per CPU s, {found['share']} of the peer's file "
                f"(a copy of the peer's: {row['speed']['copy'][what]['share']})"
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
    parser.add_argument("shape", choices=sorted(CONFIGS))
    parser.add_argument("--schemes", nargs="+", default=list(_TARGETS))
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has")
    parser.add_argument("--speed", action="store_true", help="also run both files in llama.cpp")
    parser.add_argument("--work", type=Path, help="keeps the checkpoint here")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    arguments = parser.parse_args()
    peer = Path(os.environ["EDGEC_LLAMA_CPP"])
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        # The source, the peer's conversion of it, and both sides' outputs, one scheme at a time; for the speed a copy.
        largest = max(output_bytes(arguments.shape, s, arguments.layers) for s in arguments.schemes)
        refuse_small_disk(
            work, 2 * disk_bytes(arguments.shape, arguments.layers) + (3 if arguments.speed else 2) * largest
        )
        result = run(arguments.shape, arguments.schemes, peer, work, arguments.layers, speed=arguments.speed)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if found := misses(result):
        print("\nmissed: " + "; ".join(found))
        sys.exit(1)


if __name__ == "__main__":
    main()
