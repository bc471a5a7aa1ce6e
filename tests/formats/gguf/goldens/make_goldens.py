"""Make the goldens of this folder with the real llama-quantize (llama.cpp 0c1e57098; benchmarks/compile/build_peer.sh).

docs_llama.json: types and SHA-256 of every tensor of docs-llama, per scheme, without and with an importance matrix.
types.json: the types of the models in schematic_models.py, per scheme.

Usage: EDGEC_LLAMA_CPP=<folder> python tests/formats/gguf/goldens/make_goldens.py
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import peer
import schematic_models
import tiny_models

from edgec.formats.gguf.header import TensorEntry, pack_header
from edgec.formats.gguf.imatrix_file import write_imatrix
from edgec.formats.gguf.model import MappedModel
from edgec.formats.gguf.reader import read_gguf_header
from edgec.formats.gguf.types import SCHEMES
from edgec.source.local import open_local

_HERE = Path(__file__).parent


def docs_llama(work: Path) -> dict[str, dict[str, str]]:
    """Scheme (with `+imatrix`) to tensor name to `type sha256`."""
    checkpoint = open_local(tiny_models.DOCS_LLAMA)
    source = peer.convert(tiny_models.DOCS_LLAMA, work / "source.gguf", "bf16")
    imatrix = work / "imatrix.gguf"
    sums = tiny_models.sums_for(tiny_models.map_by_hand(checkpoint))
    write_imatrix(imatrix, sums, dict.fromkeys(sums, 100), datasets=["random"], chunk_count=1, chunk_size=100)
    goldens: dict[str, dict[str, str]] = {}
    for scheme, info in SCHEMES.items():
        for matrix in (None, imatrix) if info.base.is_quantized else (None,):
            made = peer.quantize(source, work / "made.gguf", scheme, imatrix=matrix)
            goldens[scheme + ("+imatrix" if matrix else "")] = peer.digests(made)
    return goldens


def schematic_types(work: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Model to scheme (with `+imatrix`) to the types in brief."""
    goldens: dict[str, dict[str, dict[str, str]]] = {}
    for name, mapped in schematic_models.MODELS.items():
        source = _write_schematic(work / "source.gguf", mapped)
        imatrix = work / "imatrix.gguf"
        sums = tiny_models.sums_for(mapped)
        write_imatrix(imatrix, sums, dict.fromkeys(sums, 100), datasets=["random"], chunk_count=1, chunk_size=100)
        wanted = schematic_models.quantizable(mapped)
        goldens[name] = {}
        for scheme, info in SCHEMES.items():
            for matrix in (None, imatrix) if info.base.is_quantized else (None,):
                made = read_gguf_header(peer.quantize(source, work / "made.gguf", scheme, imatrix=matrix))
                types = {n: t.type for n, t in made.tensors.items() if n in wanted}
                goldens[name][scheme + ("+imatrix" if matrix else "")] = schematic_models.brief(types)
    return goldens


def _write_schematic(path: Path, mapped: MappedModel) -> Path:
    entries: list[TensorEntry] = []
    data = bytearray()
    rng = np.random.default_rng(0)
    for tensor in mapped.tensors:
        entries.append(TensorEntry(tensor.name, tensor.shape, 0, len(data)))
        data += rng.standard_normal(tensor.shape).astype(np.float32).tobytes()
        data += b"\0" * (-len(data) % 32)
    path.write_bytes(pack_header(mapped.metadata, entries) + data)
    return path


def _write(name: str, golden: object) -> None:
    text = json.dumps(golden, indent=1, sort_keys=True) + "\n"
    (_HERE / name).write_text(text)
    print(name, len(text), hashlib.sha256(text.encode()).hexdigest())  # noqa: T201  # a script for people


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        _write("docs_llama.json", docs_llama(Path(folder)))
        _write("types.json", schematic_types(Path(folder)))
