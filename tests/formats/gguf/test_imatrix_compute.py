"""The importance matrix: against llama.cpp's own tool, against its definition, and its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peer
import pytest
from gguf import GGUFReader

from edgec.errors import InputError, ToolError
from edgec.events import Event, Note, Progress, silent
from edgec.formats.gguf.imatrix_compute import compute_imatrix
from edgec.formats.gguf.imatrix_file import read_imatrix
from edgec.formats.gguf.reader import read_gguf_header
from edgec.formats.gguf.runtime.client import LlamaProcess

TOKENS = 4 * 256


def compute(model: Path, text: str, out: Path, **changes: object) -> Path:
    arguments = {"max_tokens": TOKENS, "report": silent, "action": "imatrix"} | changes
    compute_imatrix(model, text, out=out, **arguments)  # type: ignore[arg-type]
    return out


def test_every_block_weight_is_there(docs_llama: Path, calibration: str, tmp_path: Path) -> None:
    found = read_imatrix(compute(docs_llama, calibration, tmp_path / "imatrix.gguf"))
    quantized = {n for n in read_gguf_header(docs_llama).tensors if n.startswith("blk.") and "norm" not in n}
    assert set(found.weights) == quantized
    assert (found.chunk_count, found.chunk_size) == (4, 256)
    for name, weights in found.weights.items():
        assert weights.shape == (768 if "ffn_down" in name else 256,)
        assert (weights > 0).all()
    # q, k and v read the same activations.
    q, k = (found.weights[f"blk.2.attn_{x}.weight"] for x in "qk")
    assert np.array_equal(q, k)


def test_first_layer_is_what_its_definition_says(docs_llama: Path, calibration: str, tmp_path: Path) -> None:
    """What enters blk.0.attn_q is the normalised embedding: computed here from the file alone."""
    found = read_imatrix(compute(docs_llama, calibration, tmp_path / "imatrix.gguf"))
    with LlamaProcess(docs_llama, n_ctx=256) as llama:
        tokens = llama.tokenize(calibration, add_special=True, parse_special=False)[:TOKENS]
    tensors = {t.name: t for t in GGUFReader(docs_llama).tensors}
    raw = np.asarray(tensors["token_embd.weight"].data).view("<u2").reshape(4096, 256)
    rows = (raw.astype(np.uint32) << 16).view(np.float32)[tokens].astype(np.float64)
    norm = np.asarray(tensors["blk.0.attn_norm.weight"].data).astype(np.float64)
    inputs = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + 1e-5) * norm
    np.testing.assert_allclose(found.weights["blk.0.attn_q.weight"], (inputs**2).mean(axis=0), rtol=1e-5)


def test_same_bytes_again_and_with_other_threads(docs_llama: Path, calibration: str, tmp_path: Path) -> None:
    files = [compute(docs_llama, calibration, tmp_path / f"{i}.gguf", threads=i) for i in (1, 2, 3)]
    assert len({f.read_bytes() for f in files}) == 1


@pytest.mark.peer
def test_equal_to_llama_imatrix(docs_llama: Path, calibration: str, tmp_path: Path) -> None:
    if peer.folder() is None:
        pytest.skip("EDGEC_LLAMA_CPP names no llama.cpp")
    text = tmp_path / "calibration.txt"
    text.write_text(calibration, "utf-8")
    theirs = peer.collect_imatrix(docs_llama, text, tmp_path / "theirs.gguf", chunks=8)
    ours = compute(docs_llama, calibration, tmp_path / "ours.gguf", max_tokens=8 * 128, chunk_tokens=128)
    a, b = ({t.name: np.asarray(t.data).ravel() for t in GGUFReader(p).tensors} for p in (ours, theirs))
    assert a.keys() == b.keys()
    assert len(a) == 84
    for name in a:
        # Their sums are float32 and their kernels another build's.
        np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-6 * float(b[name].max()), err_msg=name)


def test_progress_and_the_end_of_the_text(docs_llama: Path, calibration: str, tmp_path: Path) -> None:
    events: list[Event] = []
    compute(docs_llama, calibration[:4000], tmp_path / "i.gguf", max_tokens=32768, report=events.append)
    notes = [e.message for e in events if isinstance(e, Note)]
    progress = [e for e in events if isinstance(e, Progress)]
    assert any("fewer than imatrix.max_tokens (32768)" in n for n in notes)
    assert progress[-1].done == progress[-1].total > 0


@pytest.mark.parametrize(("text", "max_tokens"), [("Too short.", 4096), (None, 255)])
def test_less_than_one_chunk_is_refused(
    docs_llama: Path, calibration: str, tmp_path: Path, text: str | None, max_tokens: int
) -> None:
    with pytest.raises(InputError, match="one chunk needs 256"):
        compute(docs_llama, text or calibration, tmp_path / "i.gguf", max_tokens=max_tokens)
    assert not (tmp_path / "i.gguf").exists()


def test_activations_that_overflow_are_named(docs_llama: Path, calibration: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(docs_llama.read_bytes())
    entry = read_gguf_header(broken).tensors["blk.3.ffn_up.weight"]
    with broken.open("r+b") as file:
        file.seek(entry.offset)
        file.write(b"\x7f\x7f" * (entry.nbytes // 2))  # the largest bfloat16
    with pytest.raises(ToolError, match=r"activations that enter tensor 'blk\.3\.ffn_down\.weight' are not finite"):
        compute(broken, calibration, tmp_path / "i.gguf")
    assert not (tmp_path / "i.gguf").exists()
