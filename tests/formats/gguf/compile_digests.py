"""Digests of docs-llama compiled to every scheme; run as a script it prints them, on any platform."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tiny_models import DOCS_LLAMA, encode, write_safetensors
from weights import read_weights

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.imatrix_file import Imatrix
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.formats.gguf.types import SCHEMES
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, DType

# Of the source's own type, bfloat16, every scheme is compiled; of the others these.
_SOME_SCHEMES = ("q4_k_m", "q8_0")


def _matrix(layout: GgufLayout) -> Imatrix:
    """Importance of whole numbers, so that every platform has the same."""
    rng = np.random.default_rng(0)
    weights = {t.name: rng.integers(1, 1 << 20, t.columns).astype(np.float32) for t in layout.tensors if t.rows > 1}
    return Imatrix(weights, datasets=(), chunk_count=1, chunk_size=1, digest="sha256:made-here")


def _stored_as(dtype: DType, checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """A copy of the checkpoint with weights of this type."""
    folder.mkdir()
    weights = read_weights(checkpoint)
    shapes = {name: info.shape for name, info in checkpoint.header.tensors.items()}
    write_safetensors(
        folder / "model.safetensors", {n: (dtype, shapes[n], encode(w, dtype)) for n, w in weights.items()}
    )
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((checkpoint.root / name).read_bytes())
    return open_local(folder)


def _layouts(checkpoint: Checkpoint, schemes: tuple[str, ...]) -> Iterator[tuple[str, GgufLayout, Imatrix | None]]:
    mapped = map_model(checkpoint.header, name="docs-llama")
    vocabulary = map_vocabulary(checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch)
    for scheme in schemes:
        for has_imatrix in (False, True) if SCHEMES[scheme].base.is_quantized else (False,):
            layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme=scheme, has_imatrix=has_imatrix)
            matrix = _matrix(layout) if has_imatrix else None
            yield f"{scheme}{', importance matrix' if has_imatrix else ''}", layout, matrix


def _compiled(checkpoint: Checkpoint, layout: GgufLayout, matrix: Imatrix | None, folder: Path) -> str:
    compiled = compile_gguf(checkpoint, layout, folder, imatrix=matrix, report=silent, action="compile")
    return hashlib.sha256((folder / compiled.files[0].name).read_bytes()).hexdigest()


def compile_digests() -> dict[str, str]:
    """By the source's type, scheme and importance: of the whole file."""
    original = open_local(DOCS_LLAMA)
    found = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sources = {DType.BF16: original}
        sources |= {dtype: _stored_as(dtype, original, folder / dtype) for dtype in (DType.F16, DType.F32)}
        for dtype, checkpoint in sources.items():
            for name, layout, matrix in _layouts(checkpoint, tuple(SCHEMES) if dtype is DType.BF16 else _SOME_SCHEMES):
                full_name = f"{dtype}, {name}"
                found[full_name] = _compiled(checkpoint, layout, matrix, folder / full_name)
    return found


if __name__ == "__main__":
    json.dump(compile_digests(), sys.stdout, indent=1)
