"""Time and memory for the shape of an 8 B model: two layers of random weights, carried on to 32 layers.

    python benchmarks/quantize/large_shape.py [--methods gptq awq] [--tokens 2048] [--work FOLDER]

Writes 0.9 GB of random weights (hidden 4096, intermediate 14336, 32 heads, 8 key-value heads; a vocabulary of 4096, so
that docs-llama's tokenizer fits) and removes them. Random weights say nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors

HERE = Path(__file__).parent
DOCS_LLAMA = HERE.parents[1] / "models" / "docs-llama"
WIDTH, INNER, HEADS, KV_HEADS, VOCABULARY, LAYERS, WHOLE = 4096, 14336, 32, 8, 4096, 2, 32
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def main() -> None:
    """Measures each method and writes results/large_shape.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", nargs="+", default=["gptq", "awq"])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        source = Path(folder) / "source"
        write(source)
        for method in arguments.methods:
            rows.append({"method": method, **measure(method, source, Path(folder) / method, arguments.tokens)})
            print(json.dumps(rows[-1]), flush=True)
            result = {"layers": LAYERS, "tokens": arguments.tokens, "layer_mib_bf16": layer_mib(), "threads": 1}
            result |= {"load_average": round(os.getloadavg()[0], 1), "rows": rows}
            path = HERE / "results" / "large_shape.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(result, indent=2) + "\n")


def shapes() -> dict[str, tuple[int, ...]]:
    """Tensor to shape."""
    kv = WIDTH // HEADS * KV_HEADS
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (WIDTH,),
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (kv, WIDTH),
        "self_attn.v_proj": (kv, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "post_attention_layernorm": (WIDTH,),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    found = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    return found | {f"model.layers.{i}.{n}.weight": s for i in range(LAYERS) for n, s in layer.items()}  # type: ignore[operator]


def layer_mib() -> int:
    """One layer as the source stores it."""
    return sum(2 * int(np.prod(s)) for n, s in shapes().items() if ".layers.0." in n) >> 20


def write(folder: Path) -> None:
    """Random weights as BF16, a block at a time."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    layout = plan_safetensors(TensorSpec(n, "BF16", s) for n, s in shapes().items())
    with SafetensorsFile(folder / "model.safetensors", layout) as file:
        for name, shape in shapes().items():
            for begin in range(0, shape[0], 1024):
                part = (min(1024, shape[0] - begin), *shape[1:])
                values = rng.standard_normal(part, np.float32) * np.float32(0.02) if len(shape) == 2 else np.ones(part)
                bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
                file.write(name, bits, begin)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_bytes((DOCS_LLAMA / "tokenizer.json").read_bytes())


def measure(method: str, source: Path, out: Path, tokens: int) -> dict[str, Any]:
    """One quantization in a process of its own, on one thread; what 32 layers would take by the same measure."""
    out.mkdir()
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [
        sys.executable,
        str(HERE / "measure.py"),
        method,
        *map(str, (source, DOCS_LLAMA / "calibration.txt", out)),
    ]
    done = subprocess.run(
        [*command, str(tokens)], check=True, capture_output=True, text=True, env={**os.environ, **threads}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "extrapolated_cpu_s": round(found["cpu_s"] / LAYERS * WHOLE)}


if __name__ == "__main__":
    main()
