"""The compile against the real convert_hf_to_gguf.py and llama-quantize, on models made here.

The shapes differ in what the type policy looks at: rows of 256, of 32 and of neither, tied or not, 16 layers.
"""

from __future__ import annotations

from pathlib import Path

import peer
import pytest
import tiny_models
from tiny_models import TinyShape

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.imatrix_file import Imatrix, read_imatrix, write_imatrix
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.reader import read_gguf_header
from edgec.formats.gguf.types import SCHEMES
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, DType

pytestmark = [
    pytest.mark.peer,
    pytest.mark.reference,
    pytest.mark.skipif(peer.folder() is None, reason="EDGEC_LLAMA_CPP names no llama.cpp"),
]

_SHAPES = {
    "llama-256": TinyShape("llama", 16, 256, 512, 8, 2),
    "llama-f32-tied": TinyShape("llama", 9, 256, 768, 4, 4, tied=True, dtype=DType.F32),
    "qwen2-f16-160": TinyShape("qwen2", 16, 160, 512, 5, 1, tied=True, dtype=DType.F16),
    "llama-48": TinyShape("llama", 8, 48, 144, 4, 4),
}


@pytest.fixture(scope="module", params=_SHAPES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path, Path]:
    """A checkpoint, llama.cpp's conversion of it without loss, and an importance matrix."""
    folder = tmp_path_factory.mktemp(request.param)
    shape = _SHAPES[request.param]
    checkpoint = tiny_models.write_random(folder / "source", shape)
    converted = peer.convert(checkpoint.root, folder / "source.gguf", shape.dtype.value.lower())
    sums = tiny_models.sums_for(tiny_models.map_by_hand(checkpoint))
    matrix = folder / "imatrix.gguf"
    write_imatrix(matrix, sums, dict.fromkeys(sums, 77), datasets=["random"], chunk_count=1, chunk_size=77)
    return checkpoint, converted, matrix


def _ours(checkpoint: Checkpoint, folder: Path, scheme: str, imatrix: Imatrix | None) -> dict[str, str]:
    layout = plan_layout(
        tiny_models.map_by_hand(checkpoint),
        tiny_models.vocabulary_by_hand(checkpoint),
        checkpoint.header.tensors,
        scheme=scheme,
        has_imatrix=imatrix is not None,
    )
    compile_gguf(checkpoint, layout, folder, imatrix=imatrix, report=silent, action="compile")
    return peer.digests(folder / "model.gguf")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tensors_are_llama_quantizes(scheme: str, made: tuple[Checkpoint, Path, Path], tmp_path: Path) -> None:
    checkpoint, converted, _ = made
    theirs = peer.digests(peer.quantize(converted, tmp_path / "theirs.gguf", scheme))
    ours = _ours(checkpoint, tmp_path / "ours", scheme, None)
    assert ours == theirs
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("scheme", [s for s, info in SCHEMES.items() if info.base.is_quantized])
def test_tensors_are_llama_quantizes_with_an_importance_matrix(
    scheme: str, made: tuple[Checkpoint, Path, Path], tmp_path: Path
) -> None:
    checkpoint, converted, matrix = made
    theirs = peer.digests(peer.quantize(converted, tmp_path / "theirs.gguf", scheme, imatrix=matrix))
    assert _ours(checkpoint, tmp_path / "ours", scheme, read_imatrix(matrix)) == theirs


def test_the_source_scheme_is_the_converters_file(made: tuple[Checkpoint, Path, Path], tmp_path: Path) -> None:
    checkpoint, converted, _ = made
    assert _ours(checkpoint, tmp_path, "source", None) == peer.digests(converted)
    ours, theirs = read_gguf_header(tmp_path / "model.gguf"), read_gguf_header(converted)
    for key in ("general.file_type", "general.quantization_version", "general.architecture"):
        assert ours.metadata[key] == theirs.metadata[key]


def test_a_matrix_of_llama_imatrix_gives_its_bytes(tmp_path: Path) -> None:
    checkpoint = open_local(tiny_models.DOCS_LLAMA)
    converted = peer.convert(checkpoint.root, tmp_path / "source.gguf", "bf16")
    text = tmp_path / "text.txt"
    text.write_bytes((checkpoint.root / "calibration.txt").read_bytes()[:20_000])
    matrix = peer.collect_imatrix(converted, text, tmp_path / "imatrix.gguf", chunks=4)
    for scheme in ("q4_k_m", "q4_0", "iq4_xs"):
        theirs = peer.digests(peer.quantize(converted, tmp_path / "theirs.gguf", scheme, imatrix=matrix))
        assert _ours(checkpoint, tmp_path / scheme, scheme, read_imatrix(matrix)) == theirs


def test_metadata_are_the_converters(tmp_path: Path) -> None:
    """Key by key for the whole way from the checkpoint; docs/gguf.md gives the reasons for the differences."""
    checkpoint = open_local(tiny_models.DOCS_LLAMA)
    mapped = map_model(checkpoint.header, name="docs-llama")
    vocabulary = map_vocabulary(checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch)
    layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme="q4_k_m")
    compile_gguf(checkpoint, layout, tmp_path / "ours", imatrix=None, report=silent, action="compile")
    ours = read_gguf_header(tmp_path / "ours" / "model.gguf").metadata
    converted = peer.convert(checkpoint.root, tmp_path / "source.gguf", "bf16")
    theirs = read_gguf_header(peer.quantize(converted, tmp_path / "theirs.gguf", "q4_k_m")).metadata
    assert {k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)} == {"general.name"}
