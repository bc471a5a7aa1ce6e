"""The way of a test model: checkpoint -> map_model -> F32 GGUF -> llama.cpp."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from family_models import Convert, Run

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.model import KeyValue, MappedModel, ValueType, Vocabulary
from edgec.source.local import open_local

_PROGRAM = Path(__file__).with_name("llama_outputs.py")


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Compiles the checkpoint in a folder to an F32 GGUF; returns the file and the mapping."""

    def run(folder: Path) -> tuple[Path, MappedModel]:
        checkpoint = open_local(folder)
        mapped = map_model(checkpoint.header, name="tiny")
        vocabulary = _made_up_words(mapped.shape.n_vocab, checkpoint.header.config.get("type_vocab_size", 2))
        layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme="f32")
        out = tmp_path / "gguf"
        out.mkdir()
        compile_gguf(checkpoint, layout, out, imatrix=None, report=silent, action="compile", threads=1)
        return out / "model.gguf", mapped

    return run


@pytest.fixture
def run_llama(tmp_path: Path) -> Run:
    """Outputs of llama.cpp for token ids, shape (rows, width): `logits`, `rows` (embeddings per token) or `pooled`."""

    def run(model: Path, tokens: np.ndarray, kind: str) -> np.ndarray:
        ids, out = tmp_path / "tokens.npy", tmp_path / f"{kind}.npy"
        np.save(ids, tokens)
        command = [sys.executable, str(_PROGRAM), str(model), str(ids), str(out), kind]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return np.load(out)

    return run


def _made_up_words(n_vocab: int, token_types: int) -> Vocabulary:
    """A vocabulary for models of any family: these tests feed token ids, never text."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = (*special, *(f"\u2581w{i}" for i in range(n_vocab - len(special))))
    types = (3,) * len(special) + (1,) * (n_vocab - len(special))
    names = ("padding", "unknown", "cls", "seperator", "mask")
    entries = (
        KeyValue("tokenizer.ggml.model", ValueType.STRING, "bert"),
        KeyValue("tokenizer.ggml.pre", ValueType.STRING, "default"),
        KeyValue("tokenizer.ggml.token_type_count", ValueType.UINT32, token_types),
        KeyValue("tokenizer.ggml.tokens", ValueType.ARRAY, tokens, ValueType.STRING),
        KeyValue("tokenizer.ggml.token_type", ValueType.ARRAY, types, ValueType.INT32),
        *(KeyValue(f"tokenizer.ggml.{n}_token_id", ValueType.UINT32, i) for i, n in enumerate(names)),
    )
    return Vocabulary(metadata=entries, model="bert", pre="default", n_tokens=n_vocab, special={}, chat_template=None)
