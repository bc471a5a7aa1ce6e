"""Runs in the toolchain `optimum`: an encoder's folder to one ONNX graph, compared with torch before it counts.

Rule: what is left in the file depends on the weights alone: no paths, no names of this machine, no two copies of one
tensor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import onnx
import onnxruntime
import torch
import transformers
from clean_graph import clean
from graph_file import read, write
from optimum.exporters.onnx import main_export
from random_texts import difference, random_texts
from torch_model import load


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `scratch`: folders; `out`: the file to write, `beside`: whether its weights go into another one;
    `task`: Optimum's; `model_class`, `numbers`; `opset`; `vocabulary`, `positions`, `types`, `threads`.

    Answers inputs, outputs, opset, the largest difference to torch, and versions.
    """
    os.umask(0o022)
    # Tools leave files where they run.
    os.chdir(request["scratch"])
    torch.set_num_threads(int(request["threads"]))
    progress(0, 3, "steps", "tracing the model")
    made = Path(request["scratch"]) / "made"
    main_export(
        request["checkpoint"],
        made,
        task=request["task"],
        library_name="transformers",
        framework="pt",
        opset=int(request["opset"]),
        do_validation=False,
        local_files_only=True,
        trust_remote_code=False,
        device="cpu",
    )
    progress(1, 3, "steps", "writing the graph")
    model = read(made / "model.onnx")
    clean(model, made)
    out = Path(request["out"])
    write(model, made, out, beside=request["beside"])
    onnx.checker.check_model(str(out))
    progress(2, 3, "steps", "comparing with torch")
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    return {
        "inputs": inputs,
        "outputs": outputs,
        "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "max_difference": _difference(request, out, inputs, outputs[0]),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, onnx, onnxruntime)},
    }


def _difference(request: dict[str, Any], path: Path, inputs: list[str], output: str) -> Any:
    """The largest difference to torch. One model after the other: together they may be more than the memory."""
    texts = [
        {name: text[name] for name in inputs}
        for text in random_texts(request["vocabulary"], request["positions"], types=request["types"] > 1)
    ]
    model = load(request)
    with torch.inference_mode():
        wanted = [model(**{n: torch.from_numpy(v) for n, v in text.items()})[output].numpy() for text in texts]
    del model
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return max(
        difference(session.run([output], text)[0], expected, text["attention_mask"])
        for text, expected in zip(texts, wanted, strict=True)
    )
