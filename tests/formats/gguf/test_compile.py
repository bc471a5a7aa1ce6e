"""The compile: bytes equal to llama-quantize's goldens, any number of threads, transforms, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from tiny_models import TinyShape

from edgec.errors import InputError, ToolError
from edgec.events import Event, Progress, silent
from edgec.formats.gguf import slabs
from edgec.formats.gguf.compile import CompiledGguf, compile_gguf
from edgec.formats.gguf.imatrix_file import Imatrix, read_imatrix, write_imatrix
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.model import TensorMapping
from edgec.formats.gguf.reader import read_gguf_header
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, DType

_GOLDEN: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "goldens" / "docs_llama.json").read_text())


@pytest.fixture(scope="module")
def docs_llama() -> Checkpoint:
    return open_local(tiny_models.DOCS_LLAMA)


@pytest.fixture(scope="module")
def docs_imatrix(docs_llama: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Imatrix:
    path = tmp_path_factory.mktemp("imatrix") / "imatrix.gguf"
    sums = tiny_models.sums_for(tiny_models.map_by_hand(docs_llama))
    write_imatrix(path, sums, dict.fromkeys(sums, 100), datasets=["random"], chunk_count=1, chunk_size=100)
    return read_imatrix(path)


def _compile(
    checkpoint: Checkpoint, folder: Path, scheme: str, *, imatrix: Imatrix | None = None, **settings: Any
) -> CompiledGguf:
    layout = plan_layout(
        tiny_models.map_by_hand(checkpoint),
        tiny_models.vocabulary_by_hand(checkpoint),
        checkpoint.header.tensors,
        scheme=scheme,
        has_imatrix=imatrix is not None,
    )
    return compile_gguf(checkpoint, layout, folder, imatrix=imatrix, action="compile", **{"report": silent} | settings)


@pytest.mark.parametrize("key", _GOLDEN)
def test_tensor_bytes_are_llama_quantizes(
    key: str, docs_llama: Checkpoint, docs_imatrix: Imatrix, tmp_path: Path
) -> None:
    scheme, _, with_imatrix = key.partition("+")
    made = _compile(docs_llama, tmp_path, scheme, imatrix=docs_imatrix if with_imatrix else None)
    ours = {t.name: f"{t.type} {t.sha256.removeprefix('sha256:')}" for t in made.tensors}
    assert ours == _GOLDEN[key]
    assert list(ours) == list(read_gguf_header(tmp_path / "model.gguf").tensors)


def test_what_is_reported_is_what_is_in_the_file(docs_llama: Checkpoint, tmp_path: Path) -> None:
    made = _compile(docs_llama, tmp_path, "q4_k_m")
    assert [p.name for p in tmp_path.iterdir()] == ["model.gguf"]
    data = (tmp_path / "model.gguf").read_bytes()
    header = read_gguf_header(tmp_path / "model.gguf")
    (file,) = made.files
    assert (file.name, file.size_bytes) == ("model.gguf", len(data))
    assert header.metadata["general.file_type"].value == 15
    assert header.metadata["general.quantization_version"].value == 2
    for tensor in made.tensors:
        assert header.tensors[tensor.name].nbytes == tensor.nbytes
        if tensor.type == "f32":
            assert tensor.relative_rmse == 0
        else:
            assert 0.005 < tensor.relative_rmse < 0.1


def test_threads_and_slabs_do_not_change_a_byte(
    docs_llama: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = _compile(docs_llama, tmp_path / "1", "q5_k_m", threads=1)
    monkeypatch.setattr(slabs, "_SLAB_ELEMENTS", 5000)
    again = _compile(docs_llama, tmp_path / "8", "q5_k_m", threads=8)
    assert [t.sha256 for t in once.tensors] == [t.sha256 for t in again.tensors]
    assert once.files == again.files


def test_progress_counts_every_byte_once(docs_llama: Checkpoint, tmp_path: Path) -> None:
    events: list[Event] = []
    made = _compile(docs_llama, tmp_path, "q8_0", report=events.append)
    progress = [e for e in events if isinstance(e, Progress)]
    total = sum(t.nbytes for t in made.tensors)
    assert max(p.done for p in progress) == total == progress[0].total
    assert progress[-1] == Progress("compile", total, total, "bytes")
    assert {p.detail for p in progress[:-1]} == {t.name for t in made.tensors}


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype.is_float])
def test_source_scheme_copies_the_weights(dtype: DType, tmp_path: Path) -> None:
    shape = TinyShape("qwen2", 1, 64, 96, 4, 2, tied=True, dtype=dtype)
    checkpoint = tiny_models.write_random(tmp_path / "source", shape)
    _compile(checkpoint, tmp_path / "out", "source")
    header = read_gguf_header(tmp_path / "out" / "model.gguf")
    data = (tmp_path / "out" / "model.gguf").read_bytes()
    weights = (tmp_path / "source" / "model.safetensors").read_bytes()
    theirs = checkpoint.header.tensors["model.layers.0.mlp.up_proj.weight"]
    ours = header.tensors["blk.0.ffn_up.weight"]
    assert ours.type.label == dtype.value.lower()
    assert data[ours.offset :][: ours.nbytes] == weights[theirs.offset :][: theirs.nbytes]
    assert header.metadata["general.file_type"].value == {DType.F32: 0, DType.F16: 1, DType.BF16: 32}[dtype]


def test_transforms(tmp_path: Path) -> None:
    """Rows cut off, rows reordered within heads (a matrix and a bias), a constant added, a computed tensor."""
    checkpoint = tiny_models.write_random(tmp_path / "source", TinyShape("qwen2", 1, 64, 96, 4, 2, dtype=DType.F32))
    names = {"q": "model.layers.0.self_attn.q_proj.weight", "b": "model.layers.0.self_attn.q_proj.bias"}
    mapped = tiny_models.with_tensors(
        tiny_models.map_by_hand(checkpoint),
        TensorMapping("token_embd.weight", "model.embed_tokens.weight", (1000, 64), rows=1000),
        TensorMapping("output_norm.weight", "model.norm.weight", (64,), add=1.0),
        TensorMapping("rope_freqs.weight", None, (3,), constant=(1.0, 2.5, 8.0)),
        TensorMapping("blk.0.attn_q.weight", names["q"], (64, 64), unpermute_heads=4),
        TensorMapping("blk.0.attn_q.bias", names["b"], (64,), unpermute_heads=4),
    )
    vocabulary = tiny_models.vocabulary_by_hand(checkpoint)
    layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme="f32")
    compile_gguf(checkpoint, layout, tmp_path / "out", imatrix=None, report=silent, action="compile")
    read = _reader(tmp_path / "out" / "model.gguf")
    source = _source_reader(checkpoint)
    np.testing.assert_array_equal(read("token_embd.weight"), source("model.embed_tokens.weight")[:1000])
    np.testing.assert_array_equal(read("output_norm.weight"), source("model.norm.weight") + np.float32(1))
    np.testing.assert_array_equal(read("rope_freqs.weight"), [1.0, 2.5, 8.0])
    # Rows 0 and 8 are the two halves of head 0's first pair.
    order = [h * 16 + half * 8 + pair for h in range(4) for pair in range(8) for half in range(2)]
    np.testing.assert_array_equal(read("blk.0.attn_q.weight"), source(names["q"])[order])
    np.testing.assert_array_equal(read("blk.0.attn_q.bias"), source(names["b"])[order])


def _reader(path: Path) -> Callable[[str], Any]:
    data, header = path.read_bytes(), read_gguf_header(path)

    def read(name: str) -> Any:
        tensor = header.tensors[name]
        return np.frombuffer(data, np.float32, tensor.nbytes // 4, tensor.offset).reshape(tensor.shape)

    return read


def _source_reader(checkpoint: Checkpoint) -> Callable[[str], Any]:
    data = (checkpoint.root / "model.safetensors").read_bytes()

    def read(name: str) -> Any:
        tensor = checkpoint.header.tensors[name]
        return np.frombuffer(data, np.float32, tensor.elements, tensor.offset).reshape(tensor.shape)

    return read


@pytest.mark.parametrize("scheme", ["q4_k_m", "bf16", "f32"])
def test_a_weight_that_is_not_a_number_is_named(scheme: str, tmp_path: Path) -> None:
    checkpoint = tiny_models.write_random(tmp_path / "source", TinyShape("llama", 2, 256, 256, 4, 2))
    tensor = checkpoint.header.tensors["model.layers.1.mlp.up_proj.weight"]
    with (checkpoint.root / "model.safetensors").open("r+b") as file:
        file.seek(tensor.offset + 2 * 7)
        file.write(b"\x80\x7f")  # infinity in bfloat16
    with pytest.raises(InputError) as caught:
        _compile(checkpoint, tmp_path / "out", scheme)
    assert caught.value.diagnostics[0].place == "model.safetensors: tensor 'model.layers.1.mlp.up_proj.weight'"
    assert "index 7 is inf" in caught.value.diagnostics[0].message


def test_a_checkpoint_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    checkpoint = tiny_models.write_random(tmp_path / "source", TinyShape("llama", 2, 256, 256, 4, 2))
    weights = checkpoint.root / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    with pytest.raises(InputError, match="ended"):
        _compile(checkpoint, tmp_path / "out", "q8_0")


def test_an_output_that_cannot_be_made_is_an_error_before_any_work(docs_llama: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    events: list[Event] = []
    with pytest.raises(ToolError):
        _compile(docs_llama, tmp_path / "file" / "out", "q8_0", report=events.append)
    assert not events


def test_a_matrix_made_for_another_model_is_refused(docs_llama: Checkpoint, tmp_path: Path) -> None:
    sums = tiny_models.sums_for(tiny_models.map_by_hand(docs_llama))
    sums["blk.1.ffn_down.weight"] = sums["blk.1.ffn_down.weight"][:100]
    del sums["blk.0.attn_k.weight"]
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, sums, dict.fromkeys(sums, 100), datasets=[], chunk_count=1, chunk_size=100)
    with pytest.raises(InputError) as caught:
        _compile(docs_llama, tmp_path / "out", "q4_k_m", imatrix=read_imatrix(path))
    messages = [d.message for d in caught.value.diagnostics]
    assert messages == [
        "the importance matrix has nothing for blk.0.attn_k.weight",
        "the importance matrix has 100 columns for blk.1.ffn_down.weight, the model 768",
    ]
