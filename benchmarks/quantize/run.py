"""Quality and cost of 4- and 8-bit weights: edgec's methods against modelopt's, on docs-llama.

    python benchmarks/quantize/run.py --modelopt PYTHON [--model models/docs-llama] [--windows 100]

PYTHON: the interpreter of an environment with the toolchain `modelopt`'s lock; without it only edgec is measured, and
modelopt's rows of the results stay. Needs the `reference` extra (torch,
transformers): quality is measured there in float32, with weights as edgec's reader gives them and inputs rounded to
INT8 where the checkpoint says so. Each quantization is a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from edgec.quantize.architecture import plan_decoder
from edgec.quantize.calibration import calibration_windows
from edgec.quantize.settings import QuantizeSettings
from edgec.quantize.weights import Weights, open_weights
from edgec.source.local import open_local

HERE = Path(__file__).parent
RUNS = (
    ("edgec", "rtn", "INT4 RTN"),
    ("edgec", "awq", "INT4 AWQ"),
    ("edgec", "gptq", "INT4 GPTQ"),
    ("edgec", "smoothquant", "INT8 SmoothQuant"),
    ("modelopt", "smoothquant", "INT8 SmoothQuant"),
    ("modelopt", "awq", "INT4 AWQ"),
)
TOKENS = 16384


def main() -> None:
    """Measures everything and writes results/quantize.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--modelopt", type=Path)
    parser.add_argument("--model", type=Path, default=HERE.parents[1] / "models" / "docs-llama")
    parser.add_argument("--windows", type=int, default=100)
    arguments = parser.parse_args()
    judge = Judge(arguments.model, arguments.windows)
    path = HERE / "results" / "quantize.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() and arguments.modelopt is None else []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for tool, method, title in RUNS:
            if tool == "modelopt" and arguments.modelopt is None:
                continue
            out = Path(folder) / f"{tool}-{method}"
            python = str(arguments.modelopt) if tool == "modelopt" else sys.executable
            row = {
                "tool": tool,
                "method": method,
                "title": title,
                **measure(python, tool, method, arguments.model, out),
            }
            rows.append(row | judge.judged(out))
            print(json.dumps(rows[-1]), flush=True)
    result = {"machine": machine(), "source_perplexity": judge.source_perplexity, "windows": arguments.windows}
    rows += [row for row in kept if row["tool"] == "modelopt"]
    result |= {"calibration_tokens": TOKENS, "group_size": 128, "threads": 1, "rows": rows}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def measure(python: str, tool: str, method: str, model: Path, out: Path) -> dict[str, Any]:
    """One quantization in a process of its own."""
    out.mkdir()
    text = model / "calibration.txt"
    if tool == "modelopt":
        source = open_local(model)
        settings = QuantizeSettings("awq", max_tokens=TOKENS)
        tokens = calibration_windows(
            source.header, plan_decoder(source.header), settings, text.read_text(encoding="utf-8")
        )
        text = out.with_suffix(".json")
        text.write_text(json.dumps(tokens.tolist()))
    script = "measure_modelopt.py" if tool == "modelopt" else "measure.py"
    command = [python, str(HERE / script), method, *map(str, (model, text, out)), str(TOKENS)]
    # One thread each: on a busy machine, threads that wait for each other spend seconds that are nobody's work.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Judge:
    """The source model's distributions over the held-out text, and what others are compared with."""

    def __init__(self, model: Path, windows: int) -> None:
        self._path = model
        text = (model / "held_out.txt").read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        length = json.loads((model / "config.json").read_text())["max_position_embeddings"]
        starts = np.linspace(0, len(ids) // length - 1, windows).astype(int) * length
        self._ids = torch.tensor([ids[s : s + length] for s in starts])
        self._source = self._distributions(self._model())
        self.source_perplexity = round(self._perplexity(self._source), 3)

    def judged(self, folder: Path) -> dict[str, float]:
        """Perplexity, mean KL divergence from the source, and how often the likeliest token is the same."""
        model = self._model()
        with open_weights(open_local(folder)) as weights, torch.no_grad():
            load(model, weights)
        found = self._distributions(model)
        kl = (self._source.exp() * (self._source - found)).sum(-1).mean()
        same = (found.argmax(-1) == self._source.argmax(-1)).float().mean()
        return {
            "perplexity": round(self._perplexity(found), 3),
            "kl": round(float(kl), 5),
            "top1": round(float(same), 4),
        }

    def _model(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self._path, dtype=torch.float32).eval()

    def _distributions(self, model: Any) -> torch.Tensor:
        with torch.no_grad():
            parts = [torch.log_softmax(model(part).logits, -1) for part in self._ids.split(10)]
        return torch.cat(parts)

    def _perplexity(self, logs: torch.Tensor) -> float:
        return float(torch.exp(-logs[:, :-1].gather(-1, self._ids[:, 1:, None]).mean()))


def load(model: Any, weights: Weights) -> None:
    """Puts dequantized weights into the model; linears whose inputs are quantized round them."""
    for name, values in model.state_dict().items():
        if weights.has(name) or name.removesuffix(".weight") in weights.linears:
            rows = weights.rows(name, 0, len(values)) if values.dim() == 2 else weights.vector(name)
            values.copy_(torch.from_numpy(np.ascontiguousarray(rows)))
    for name, module in model.named_modules():
        info = weights.linears.get(name)
        if info is not None and info.bits is not None:
            pre = torch.from_numpy(weights.vector(f"{name}.pre_quant_scale")) if info.has_pre_scale else None
            module.register_forward_pre_hook(rounding(pre, weights.input_scale(name)))


def rounding(pre: torch.Tensor | None, scale: float | None) -> Any:
    """What a kernel does to its inputs."""

    def hook(_module: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = arguments[0] if pre is None else arguments[0] * pre
        return (x if scale is None else torch.clamp(torch.round(x / scale), -128, 127) * scale,)

    return hook


def machine() -> dict[str, Any]:
    """Where it was measured, and with what."""
    names = ("numpy", "numba", "torch", "transformers")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0)), **versions}


if __name__ == "__main__":
    main()
