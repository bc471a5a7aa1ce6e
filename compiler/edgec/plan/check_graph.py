"""What is wrong with a recipe whose source is an .onnx file, as far as the documents and the names of files show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgec.documents.files import is_file, is_folder
from edgec.recipe.load import LoadedRecipe
from edgec.source.onnx_model import is_graph

At = tuple[str | int, ...]
# What a recipe says of texts and of transformers.
_OF_TEXTS: tuple[At, ...] = (("context",), ("batch",), ("source", "architecture"))
_OF_DECODERS = ("max_kl", "max_perplexity_ratio", "max_score_error", "windows", "window_tokens")


@dataclass(frozen=True)
class GraphMistake:
    """A mistake and the value it is about."""

    at: At
    message: str
    hint: str


def has_graph(loaded: LoadedRecipe) -> bool:
    """Whether the source is an .onnx file."""
    path = loaded.recipe.source.path
    return path is not None and is_graph(path)


def graph_mistakes(loaded: LoadedRecipe) -> Iterator[GraphMistake]:
    """All of them, for any source: inputs that a checkpoint has not are one too."""
    recipe = loaded.recipe
    if not has_graph(loaded):
        if recipe.source.inputs:
            hint = "remove it, or name an .onnx file in `source.path`"
            yield GraphMistake(("source", "inputs"), "only an .onnx file has inputs to describe", hint)
        return
    for number, artifact in enumerate(recipe.artifacts):
        if artifact.format not in ("onnx", "rknn"):
            message = f"an .onnx file does not become a `{artifact.format}`"
            yield GraphMistake(("artifacts", number, "format"), message, "set `format: onnx` or `rknn`")
    for at in _OF_TEXTS:
        if loaded.span(*at) is not None:
            yield GraphMistake(at, f"`{'.'.join(map(str, at))}` means nothing for an .onnx file", "remove it")
    for name in _OF_DECODERS:
        if loaded.span("prove", name) is not None:
            hint = "remove it; the proof of a graph takes `min_cosine` and `min_top1`"
            yield GraphMistake(("prove", name), f"`prove.{name}` means nothing for an .onnx file", hint)


def sample_mistakes(loaded: LoadedRecipe, at: At, relative: str) -> Iterator[GraphMistake]:
    """Whether samples are there; what is in them is seen with the graph at hand."""
    path = loaded.resolve(relative)
    if not is_file(path) and not is_folder(path):
        value = "given by the environment" if loaded.from_env(*at) else f"`{relative}`"
        hint = "name a folder of images or .npy files, an .npy or an .npz; its path begins at the recipe's folder"
        yield GraphMistake(at, f"no samples {value}", hint)
