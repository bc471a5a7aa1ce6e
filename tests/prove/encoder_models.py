"""A small BERT with random weights and a real WordPiece vocabulary, written without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import BertWordPieceTokenizer

_WIDTH, _INNER, _LAYERS, _HEADS, _POSITIONS = 256, 512, 3, 4, 128


def write_reranker(folder: Path, lines: list[str]) -> Path:
    """A cross-encoder in `folder`: the encoder without token types, with a pooler and one label."""
    write_encoder(folder, lines, reranks=True)
    for name in ("modules.json", "1_Pooling/config.json"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["BertForSequenceClassification"], "type_vocab_size": 1, "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_encoder(folder: Path, lines: list[str], *, reranks: bool = False, positions: int = _POSITIONS) -> Path:
    """A checkpoint in `folder` that pools by the mean, its vocabulary trained on `lines`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(lines, vocab_size=800, show_progress=False)
    tokenizer.post_processor = None
    _save_tokenizer(folder, tokenizer)
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": _WIDTH, "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS, "num_attention_heads": _HEADS, "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": positions, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
        "pad_token_id": 0, "position_embedding_type": "absolute",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    modules = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": _WIDTH, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    rng = np.random.default_rng(0)
    tensors = dict(_tensors(rng, tokenizer.get_vocab_size(), positions))
    if reranks:
        tensors = _reranker_tensors(rng, tensors)
    save_tensors(folder / "model.safetensors", tensors)
    return folder


def _save_tokenizer(folder: Path, tokenizer: Any) -> None:
    saved = json.loads(tokenizer.to_str())
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    saved["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [cls], "tokens": ["[CLS]"]},
                           "[SEP]": {"id": "[SEP]", "ids": [sep], "tokens": ["[SEP]"]}},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(saved, ensure_ascii=False))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _tensors(rng: np.random.Generator, n_vocab: int, positions: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    def matrix(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        return rng.standard_normal((rows, columns), np.float32) * np.float32(scale)

    def norm(name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
        yield f"{name}.weight", np.ones(_WIDTH, np.float32) + matrix(1, _WIDTH, 0.1)[0]
        yield f"{name}.bias", matrix(1, _WIDTH, 0.1)[0]

    def linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
        yield f"{name}.weight", matrix(rows, columns, 0.06)
        yield f"{name}.bias", matrix(1, rows, 0.05)[0]

    yield "embeddings.word_embeddings.weight", matrix(n_vocab, _WIDTH, 0.5)
    yield "embeddings.position_embeddings.weight", matrix(positions, _WIDTH, 0.1)
    yield "embeddings.token_type_embeddings.weight", matrix(2, _WIDTH, 0.1)
    yield from norm("embeddings.LayerNorm")
    for i in range(_LAYERS):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            yield from linear(f"{layer}.attention.self.{name}", _WIDTH, _WIDTH)
        yield from linear(f"{layer}.attention.output.dense", _WIDTH, _WIDTH)
        yield from norm(f"{layer}.attention.output.LayerNorm")
        yield from linear(f"{layer}.intermediate.dense", _INNER, _WIDTH)
        yield from linear(f"{layer}.output.dense", _WIDTH, _INNER)
        yield from norm(f"{layer}.output.LayerNorm")


def _reranker_tensors(
    rng: np.random.Generator, encoder: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """The encoder inside a classifier of one label. The head is loud, so that the scores have some range."""
    tensors = {f"bert.{name}": values for name, values in encoder.items()}
    types = "bert.embeddings.token_type_embeddings.weight"
    tensors[types] = tensors[types][:1]
    tensors["bert.pooler.dense.weight"] = rng.standard_normal((_WIDTH, _WIDTH), np.float32) * np.float32(0.1)
    tensors["bert.pooler.dense.bias"] = np.zeros(_WIDTH, np.float32)
    tensors["classifier.weight"] = rng.standard_normal((1, _WIDTH), np.float32)
    tensors["classifier.bias"] = np.zeros(1, np.float32)
    return tensors


def save_tensors(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    """A safetensors file of float32."""
    header: dict[str, Any] = {}
    offset = 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(values.tobytes() for values in tensors.values())
