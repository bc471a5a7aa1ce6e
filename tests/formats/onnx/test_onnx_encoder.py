"""Encoders are understood from their small files; what would be exported or pooled wrongly is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from encoder_models import write_encoder, write_reranker

from edgec.errors import InputError
from edgec.formats.onnx.encoder import encode, read_encoder, token_ids
from edgec.formats.onnx.layout import plan_layout
from edgec.formats.onnx.pooling import normalizes
from edgec.source.local import open_local
from edgec.source.model import CheckpointHeader

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "models" / "docs-llama" / "calibration.txt").read_text().splitlines()[:200]


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> CheckpointHeader:
    return open_local(write_encoder(tmp_path_factory.mktemp("encoder"), LINES)).header


def with_file(header: CheckpointHeader, name: str, value: Any) -> CheckpointHeader:
    return dataclasses.replace(header, files={**header.files, name: json.dumps(value).encode()})


def test_a_sentence_encoder_is_read(header: CheckpointHeader) -> None:
    encoder = read_encoder(header)
    assert (encoder.layers, encoder.width, encoder.inner, encoder.heads) == (3, 256, 512, 4)
    assert (encoder.positions, encoder.context, encoder.pooling, encoder.pooling_note) == (128, 128, "mean", None)
    shorter = with_file(header, "sentence_bert_config.json", {"max_seq_length": 64})
    assert read_encoder(shorter).context == 64


@pytest.mark.parametrize(
    ("modules", "expected"),
    [(("Transformer", "Pooling"), False), (("Transformer", "Pooling", "Normalize"), True), (None, None)],
)
def test_whether_vectors_are_made_of_length_1(modules: tuple[str, ...] | None, expected: bool | None) -> None:
    listed = [{"type": f"sentence_transformers.models.{kind}"} for kind in modules or ()]
    assert normalizes({} if modules is None else {"modules.json": json.dumps(listed).encode()}) is expected


def test_pooling_by_the_first_token(header: CheckpointHeader) -> None:
    changed = with_file(header, "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    assert read_encoder(changed).pooling == "cls"


def test_a_checkpoint_that_does_not_say_how_it_pools_is_noted(header: CheckpointHeader) -> None:
    files = {n: d for n, d in header.files.items() if n != "modules.json"}
    encoder = read_encoder(dataclasses.replace(header, files=files))
    assert encoder.pooling == "mean"
    assert "is assumed" in (encoder.pooling_note or "")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling by pooling_mode_max_tokens"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            "pooling_mode_mean_tokens and pooling_mode_max_tokens",
        ),
        ("modules.json", [{"type": "x.Transformer"}, {"type": "x.Pooling"}, {"type": "x.Dense"}], "Dense"),
        ("modules.json", {}, "no modules"),
    ],
)
def test_other_poolings_are_refused(header: CheckpointHeader, name: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read_encoder(with_file(header, name, value))
    assert expected in caught.value.diagnostics[0].message
    assert caught.value.diagnostics[0].place == name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "'LlamaForCausalLM' is not exported"),
        ({"architectures": None}, "None is not exported"),
        ({"is_decoder": True}, "is a decoder"),
        ({"hidden_size": 0}, "hidden_size is 0"),
    ],
)
def test_other_models_are_refused(header: CheckpointHeader, change: dict[str, Any], expected: str) -> None:
    changed = dataclasses.replace(header, config={**header.config, **change})
    with pytest.raises(InputError) as caught:
        read_encoder(changed)
    assert expected in caught.value.diagnostics[0].message


def test_a_reranker_scores_pairs(tmp_path: Path) -> None:
    header = open_local(write_reranker(tmp_path / "reranker", LINES)).header
    reranker = read_encoder(header)
    assert (reranker.kind, reranker.pooling, reranker.answer_width) == ("reranker", "score", 1)
    told = dataclasses.replace(reranker, context=12, types=2)
    for model, types in ((reranker, {0}), (told, {0, 1})):
        (pair,) = encode(header.files, [("what a file is for", "a checksum tells whether a file is whole")], model)
        assert len(pair.ids) == len(pair.types) <= model.context
        assert set(pair.types) == types
    parameters = sum(t.elements for t in header.tensors.values())
    assert 4 * parameters < plan_layout(reranker, "fp32").size_bytes < 4 * parameters + (1 << 20)


@pytest.mark.parametrize("labels", [{"id2label": {"0": "no", "1": "yes"}}, {"id2label": None}])
def test_a_classifier_of_several_labels_is_no_reranker(tmp_path: Path, labels: dict[str, Any]) -> None:
    header = open_local(write_reranker(tmp_path / "reranker", LINES)).header
    with pytest.raises(InputError, match="has 2 labels, but a reranker has one"):
        read_encoder(dataclasses.replace(header, config={**header.config, **labels}))


def test_positions_of_robertas_begin_after_the_padding(header: CheckpointHeader) -> None:
    config = {**header.config, "architectures": ["XLMRobertaModel"], "max_position_embeddings": 514, "pad_token_id": 1}
    encoder = read_encoder(dataclasses.replace(header, config=config))
    assert (encoder.positions, encoder.position_rows, encoder.pad_id) == (512, 514, 1)


def test_a_long_text_keeps_its_last_special_token(header: CheckpointHeader) -> None:
    whole, cut = (token_ids(header.files, [" ".join(LINES[:20])], most)[0] for most in (10_000, 32))
    assert len(whole) > len(cut) == 32
    assert cut == [*whole[:31], whole[-1]]


def test_a_checkpoint_without_a_tokenizer_is_refused(header: CheckpointHeader) -> None:
    with pytest.raises(InputError, match="no tokenizer"):
        token_ids({}, ["a"], 8)
    with pytest.raises(InputError, match="cannot read it"):
        token_ids({"tokenizer.json": b"{}"}, ["a"], 8)


def test_sizes_are_in_the_order_of_the_schemes(header: CheckpointHeader) -> None:
    encoder = read_encoder(header)
    sizes = {
        scheme: plan_layout(encoder, scheme).size_bytes for scheme in ("fp32", "auto", "int8", "int8_fine", "int4")
    }
    assert sizes["fp32"] > sizes["auto"] > sizes["int8"] == sizes["int8_fine"] > sizes["int4"]
    parameters = sum(t.elements for t in header.tensors.values())
    assert 4 * parameters < sizes["fp32"] < 4 * parameters + (1 << 20)
