"""Layouts: sizes exact before a weight is read, offsets as GGUF demands, mistakes in the checkpoint named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from edgec.errors import InputError
from edgec.events import silent
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.formats.gguf.model import KeyValue, ValueType
from edgec.formats.gguf.types import SCHEMES
from edgec.source.local import open_local
from edgec.source.model import Checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_local(tiny_models.DOCS_LLAMA)


def _plan(checkpoint: Checkpoint, scheme: str, extra: tuple[KeyValue, ...] = ()) -> GgufLayout:
    return plan_layout(
        tiny_models.map_by_hand(checkpoint),
        tiny_models.vocabulary_by_hand(checkpoint),
        checkpoint.header.tensors,
        scheme=scheme,
        extra_metadata=extra,
    )


@pytest.mark.parametrize("scheme", [*SCHEMES, "source"])
def test_the_planned_size_is_the_files(scheme: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    layout = _plan(checkpoint, scheme)
    compile_gguf(checkpoint, layout, tmp_path, imatrix=None, report=silent, action="compile")
    (made,) = tmp_path.iterdir()
    assert made.name == layout.files[0].name == "model.gguf"
    assert made.stat().st_size == layout.size_bytes
    assert made.read_bytes().startswith(layout.files[0].header)
    assert sum(layout.bytes_by_type.values()) == sum(t.nbytes for t in layout.tensors)


def test_tensors_are_aligned_in_llama_cpps_order_and_do_not_overlap(checkpoint: Checkpoint) -> None:
    layout = _plan(checkpoint, "q4_k_m")
    assert [t.name for t in layout.tensors[:4]] == [
        "output_norm.weight", "token_embd.weight", "blk.0.attn_k.weight", "blk.0.attn_norm.weight",
    ]  # fmt: skip
    end = len(layout.files[0].header)
    for tensor in layout.tensors:
        assert tensor.offset % 32 == 0
        assert end <= tensor.offset < end + 32
        end = tensor.offset + tensor.nbytes


def test_the_digest_changes_with_whatever_changes_the_bytes(checkpoint: Checkpoint) -> None:
    marked = (KeyValue("general.description", ValueType.STRING, "x"),)
    digests = [_plan(checkpoint, "q8_0").digest, _plan(checkpoint, "q8_0", marked).digest]
    digests += [_plan(checkpoint, "q4_0").digest]
    assert len(set(digests)) == 3
    assert digests[0] == _plan(checkpoint, "q8_0").digest


def test_sizes_add_up(checkpoint: Checkpoint) -> None:
    layout = _plan(checkpoint, "q8_0")
    assert layout.size_bytes == layout.files[0].size_bytes
    assert set(layout.bytes_by_type) == {"f32", "q8_0"}
    assert sum(layout.bytes_by_type.values()) == sum(t.nbytes for t in layout.tensors)


def test_a_missing_tensor_is_named(checkpoint: Checkpoint) -> None:
    tensors = {n: t for n, t in checkpoint.header.tensors.items() if n != "model.layers.3.mlp.up_proj.weight"}
    with pytest.raises(InputError, match=r"no tensor 'model.layers.3.mlp.up_proj.weight'.*blk.3.ffn_up.weight"):
        plan_layout(
            tiny_models.map_by_hand(checkpoint), tiny_models.vocabulary_by_hand(checkpoint), tensors, scheme="q8_0"
        )


def test_a_shape_config_does_not_know_is_named(checkpoint: Checkpoint) -> None:
    name = "model.layers.3.mlp.up_proj.weight"
    tensors = dict(checkpoint.header.tensors)
    mapped = tiny_models.map_by_hand(checkpoint)
    tensors[name] = replace(tensors[name], shape=(767, 256))
    with pytest.raises(InputError) as caught:
        plan_layout(mapped, tiny_models.vocabulary_by_hand(checkpoint), tensors, scheme="q8_0")
    assert caught.value.diagnostics[0].place == f"model.safetensors: tensor '{name}'"
    assert "[767, 256]" in caught.value.diagnostics[0].message


def test_metadata_given_twice_is_a_mistake_of_ours(checkpoint: Checkpoint) -> None:
    twice = (KeyValue("llama.block_count", ValueType.UINT32, 6),)
    with pytest.raises(ValueError, match=r"given twice: llama.block_count"):
        _plan(checkpoint, "q8_0", twice)
