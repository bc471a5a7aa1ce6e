"""Digests of docs-llama compiled to every scheme; run as a script it prints them, on any platform."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.imatrix_file import Imatrix
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.formats.gguf.types import SCHEMES
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local

DOCS_LLAMA = Path(__file__).parents[3] / "models" / "docs-llama"


def _matrix(layout: GgufLayout) -> Imatrix:
    """Importance of whole numbers, so that every platform has the same."""
    rng = np.random.default_rng(0)
    weights = {t.name: rng.integers(1, 1 << 20, t.columns).astype(np.float32) for t in layout.tensors if t.rows > 1}
    return Imatrix(weights, datasets=(), chunk_count=1, chunk_size=1, digest="sha256:made-here")


def compile_digests() -> dict[str, str]:
    """By scheme, with and without importance matrix: of the whole file."""
    checkpoint = open_local(DOCS_LLAMA)
    mapped = map_model(checkpoint.header, name="docs-llama")
    vocabulary = map_vocabulary(checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch)
    found = {}
    for scheme, info in SCHEMES.items():
        for has_imatrix in (False, True) if info.base.is_quantized else (False,):
            layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme=scheme, has_imatrix=has_imatrix)
            matrix = _matrix(layout) if has_imatrix else None
            with tempfile.TemporaryDirectory() as folder:
                compiled = compile_gguf(
                    checkpoint, layout, Path(folder), imatrix=matrix, report=silent, action="compile"
                )
                data = (Path(folder) / compiled.files[0].name).read_bytes()
            name = f"{scheme}{', importance matrix' if has_imatrix else ''}"
            found[name] = hashlib.sha256(data).hexdigest()
    return found


if __name__ == "__main__":
    json.dump(compile_digests(), sys.stdout, indent=1)
