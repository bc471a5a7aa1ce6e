"""Every family and option: metadata key by key, and every tensor bit by bit, as llama.cpp's own converter writes them.

Needs EDGEC_LLAMA_CPP, the folder of llama.cpp's source (see benchmarks/compile/build_peer.sh).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_models import DECODERS, ENCODERS, Convert, save
from gguf import GGUFReader, GGUFValueType

_LLAMA_CPP = os.environ.get("EDGEC_LLAMA_CPP", "")
pytestmark = [
    pytest.mark.reference,
    pytest.mark.peer,
    pytest.mark.skipif(
        not (_LLAMA_CPP and (Path(_LLAMA_CPP) / "conversion").is_dir()),
        reason="EDGEC_LLAMA_CPP does not name llama.cpp's source",
    ),
]
pytest.importorskip("torch")
pytest.importorskip("transformers")

_PROGRAM = Path(__file__).with_name("peer_converter.py")
# The converter knows Nomic BERT in the publisher's spelling only.
_MODELS = {name: tiny for name, tiny in {**DECODERS, **ENCODERS}.items() if name != "nomic-bert"}
# What the converter guesses from folder and file names, and what it cannot know; see docs/architectures.md.
_GUESSED = {"general.name", "general.basename", "general.finetune", "general.version"}
# Where the converter is wrong or silent; see docs/architectures.md. Values: the converter's, ours; None is no entry.
_DIFFERENCES: dict[str, dict[str, tuple[Any, Any]]] = {
    "mistral-window": {"llama.context_length": (256, 64)},
    "qwen2-window-of-late-layers": {"qwen2.context_length": (256, 48)},
    "phi3-window": {"phi3.context_length": (256, 56)},
    "qwen2-yarn-attention-factor": {
        "qwen2.rope.scaling.attn_factor": (None, np.float32(0.8 / (1 + 0.1 * np.log(4)))),
        "qwen2.rope.scaling.yarn_attn_factor": (np.float32(0.8), None),
    },
    "qwen2-yarn-mscale": {
        "qwen2.rope.scaling.attn_factor": (
            None,
            np.float32((1 + 0.07 * np.log(4)) / (1 + 0.14 * np.log(4)) / (1 + 0.1 * np.log(4))),
        ),
    },
    "gemma3-other-pattern": {"gemma3.attention.sliding_window_pattern": (None, [False, True, False, True])},
    "gemma3-no-window": {"gemma3.attention.sliding_window": (24, None)},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every tiny model as `<name>` and the converter's GGUF of it as `<name>.gguf`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, tiny in _MODELS.items():
        save(tiny, folder / name)
    pairs = [str(folder / f"{name}{suffix}") for name in _MODELS for suffix in ("", ".gguf")]
    command = [sys.executable, str(_PROGRAM), _LLAMA_CPP, *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _metadata(reader: GGUFReader) -> dict[str, tuple[GGUFValueType, Any]]:
    return {
        name: (field.types[0], field.contents())
        for name, field in reader.fields.items()
        if not name.startswith(("GGUF.", "tokenizer.")) and name not in _GUESSED
    }


@pytest.mark.parametrize("name", _MODELS)
def test_the_file_is_the_converters(name: str, checkpoints: Path, convert: Convert) -> None:
    ours = GGUFReader(convert(checkpoints / name)[0])
    theirs = GGUFReader(checkpoints / f"{name}.gguf")

    found, expected = _metadata(ours), _metadata(theirs)
    differing = {
        key: (expected.get(key, (None, None))[1], found.get(key, (None, None))[1])
        for key in {*found, *expected}
        if expected.get(key) != found.get(key)
    }
    assert differing == _DIFFERENCES.get(name, {})

    tensors = {t.name: t for t in ours.tensors}
    assert {t.name: list(t.shape) for t in theirs.tensors} == {n: list(t.shape) for n, t in tensors.items()}
    for tensor in theirs.tensors:
        assert np.array_equal(tensor.data.view(np.uint32), tensors[tensor.name].data.view(np.uint32)), tensor.name
