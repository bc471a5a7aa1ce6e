"""GGUFs of docs-llama for proofs, compiled by edgec itself; healthy, or with one mistake a converter could make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.model import MappedModel, Vocabulary
from edgec.formats.gguf.reader import read_gguf_header
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local
from edgec.source.model import Checkpoint

DOCS_LLAMA = Path(__file__).parents[2] / "models" / "docs-llama"


def checkpoint() -> Checkpoint:
    """The small real model."""
    return open_local(DOCS_LLAMA)


def vocabulary_of(source: Checkpoint) -> Vocabulary:
    """Its vocabulary, as a build maps it."""
    mapped = map_model(source.header, name="test", architecture=None)
    return map_vocabulary(source.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch, pre=None, chat_template=None)


def reranker_vocabulary(source: Checkpoint) -> Vocabulary:
    """The tokenizer of a reranker."""
    mapped = map_model(source.header, name="test", architecture=None)
    return map_vocabulary(source.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch, reranks=True)


def compile_checkpoint(
    source: Checkpoint,
    folder: Path,
    scheme: str,
    *,
    change_model: Callable[[MappedModel], MappedModel] = lambda m: m,
    change_vocabulary: Callable[[Vocabulary], Vocabulary] = lambda v: v,
) -> Path:
    """`<folder>/<scheme>.gguf`; `scheme` `source` is the unquantized reference."""
    mapped = change_model(map_model(source.header, name="test", architecture=None))
    own = reranker_vocabulary if mapped.kind == "reranker" else vocabulary_of
    vocabulary = change_vocabulary(own(source))
    layout = plan_layout(mapped, vocabulary, source.header.tensors, scheme=scheme, name=scheme)
    folder.mkdir(parents=True, exist_ok=True)
    compiled = compile_gguf(source, layout, folder, imatrix=None, report=silent, action="test")
    return folder / compiled.files[0].name


def compile_model(
    folder: Path,
    scheme: str,
    *,
    change_model: Callable[[MappedModel], MappedModel] = lambda m: m,
    change_vocabulary: Callable[[Vocabulary], Vocabulary] = lambda v: v,
) -> Path:
    """The same of docs-llama."""
    return compile_checkpoint(
        checkpoint(), folder, scheme, change_model=change_model, change_vocabulary=change_vocabulary
    )


def with_swapped_tokens(vocabulary: Vocabulary) -> Vocabulary:
    """Two tokens of equal length have each other's id."""
    metadata = list(vocabulary.metadata)
    index = next(i for i, entry in enumerate(metadata) if entry.key == "tokenizer.ggml.tokens")
    tokens = list(metadata[index].value)  # type: ignore[arg-type]
    a, b = tokens.index("Ġthe"), tokens.index("Ġfor")
    tokens[a], tokens[b] = tokens[b], tokens[a]
    metadata[index] = replace(metadata[index], value=tuple(tokens))
    return replace(vocabulary, metadata=tuple(metadata))


def with_template(template: str) -> Callable[[Vocabulary], Vocabulary]:
    """The file carries this chat template."""

    def change(vocabulary: Vocabulary) -> Vocabulary:
        entries = [replace(e, value=template) if e.key == "tokenizer.chat_template" else e for e in vocabulary.metadata]
        return replace(vocabulary, metadata=tuple(entries), chat_template=template)

    return change


def with_rotary_halves_apart(mapped: MappedModel) -> MappedModel:
    """The rows of q and k are left as transformers keeps them."""
    return replace(mapped, tensors=tuple(replace(t, unpermute_heads=None) for t in mapped.tensors))


def overwrite(path: Path, tensor: str, data: bytes) -> None:
    """Fills a tensor of a GGUF with repetitions of `data`."""
    entry = read_gguf_header(path).tensors[tensor]
    with path.open("r+b") as file:
        file.seek(entry.offset)
        file.write((data * (entry.nbytes // len(data) + 1))[: entry.nbytes])
