"""docs-llama as an unquantized GGUF, compiled by edgec once per run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local

DOCS_LLAMA = Path(__file__).parents[3] / "models" / "docs-llama"


@pytest.fixture(scope="session")
def docs_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the GGUF."""
    source = open_local(DOCS_LLAMA)
    mapped = map_model(source.header, name="docs-llama", architecture=None)
    vocabulary = map_vocabulary(
        source.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch, pre=None, chat_template=None
    )  # fmt: skip
    layout = plan_layout(mapped, vocabulary, source.header.tensors, scheme="source", name="reference")
    folder = tmp_path_factory.mktemp("docs-llama")
    compiled = compile_gguf(source, layout, folder, imatrix=None, report=silent, action="test")
    return folder / compiled.files[0].name


@pytest.fixture(scope="session")
def calibration() -> str:
    """The model's calibration text."""
    return (DOCS_LLAMA / "calibration.txt").read_text("utf-8")
