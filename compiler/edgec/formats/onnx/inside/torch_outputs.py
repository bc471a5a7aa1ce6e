"""Runs in a toolchain with torch: what a checkpoint gives for random tokens, for a graph that is written elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import torch
import transformers
from random_texts import random_texts
from torch_model import load


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `model_class`, `numbers`; `vocabulary`, `positions`, `types`, `threads`; `out`: a file for the
    inputs, by name and number, and for each `output_<number>`.

    Answers versions.
    """
    torch.set_num_threads(int(request["threads"]))
    progress(0, 1, "models", "in torch")
    model = load(request)
    arrays: dict[str, Any] = {}
    texts = list(random_texts(request["vocabulary"], request["positions"], types=request["types"] > 1))
    with torch.inference_mode():
        for number, text in enumerate(texts):
            output = model(**{name: torch.from_numpy(value) for name, value in text.items()})[0].numpy()
            arrays |= {f"{name}_{number}": value for name, value in {**text, "output": output}.items()}
    with Path(request["out"]).open("wb") as file:
        np.savez(file, texts=len(texts), **arrays)
    return {"versions": {m.__name__: m.__version__ for m in (torch, transformers)}}
