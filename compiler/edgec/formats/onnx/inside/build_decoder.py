"""Runs in the toolchain `genai`: a decoder's folder to `model.onnx` and its data, by onnxruntime-genai's builder.

Rule: what is left in the files depends on the weights and the options alone: no paths, no names of this machine.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy
import onnx
import onnxruntime
import onnxruntime_genai
import torch
import transformers
from decoder_graph import describe, share_embedding, write_graph
from onnxruntime_genai.models.builder import create_model, parse_extra_options

_LAYER = re.compile(r"Reading layer (\d+)")


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `scratch`, `out`: folders; `precision`; `provider`, whose graph is built; `options`: of the
    builder, `KEY=VALUE`; `tied`: whether the embedding is the head's matrix; `layers`, `threads`.

    Answers what the graph has (see `decoder_graph.describe`) and versions. `out` has the model, its data and
    genai_config.json.
    """
    os.umask(0o022)
    scratch = Path(request["scratch"])
    # Tools leave files where they run.
    os.chdir(scratch)
    torch.set_num_threads(int(request["threads"]))
    made = scratch / "made"
    with _Shown(int(request["layers"]), progress):
        _build(request, made, scratch / "cache")
    progress(int(request["layers"]) + 1, int(request["layers"]) + 2, "steps", "writing the graph")
    out = Path(request["out"])
    model = onnx.load(str(made / "model.onnx"), load_external_data=False)
    if request["tied"]:
        share_embedding(model)
    write_graph(model, made, out)
    (made / "genai_config.json").replace(out / "genai_config.json")
    modules = (torch, transformers, onnx, onnxruntime, onnxruntime_genai, numpy)
    return {**describe(model), "versions": {m.__name__: m.__version__ for m in modules}}


def _build(request: dict[str, Any], made: Path, cache: Path) -> None:
    name, precision, provider = "model", request["precision"], request["provider"]
    folder = request["checkpoint"]
    options = parse_extra_options(name, folder, str(made), precision, provider, str(cache), list(request["options"]))
    create_model(name, folder, str(made), precision, provider, str(cache), **options)


class _Shown:
    """Reads the builder's progress off what it prints, which still goes to the log."""

    def __init__(self, layers: int, progress: Callable[..., None]) -> None:
        self._layers = layers
        self._progress = progress
        self._out = sys.stdout

    def __enter__(self) -> None:
        sys.stdout = self

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._out

    def write(self, text: str) -> int:
        """One piece of what is printed."""
        if found := _LAYER.search(text):
            self._progress(int(found[1]), self._layers + 2, "steps", f"reading layer {found[1]}")
        elif "Saving ONNX" in text:
            self._progress(self._layers, self._layers + 2, "steps", "quantizing and saving")
        return self._out.write(text)

    def flush(self) -> None:
        """As a file."""
        self._out.flush()
