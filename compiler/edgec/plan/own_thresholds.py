"""Which thresholds of `prove:` mean something for which kind of model, whatever its format.

Rule: one that nothing would be compared with is refused at its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgec.documents.wording import listed
from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.model import ModelKind
from edgec.recipe.load import LoadedRecipe

Kind = ModelKind | Literal["classifier"]
_OWN: Mapping[Kind, tuple[str, ...]] = {
    "decoder": ("max_kl", "min_top1", "max_perplexity_ratio"),
    "encoder": ("min_cosine",),
    "reranker": ("max_score_error",),
    "classifier": ("min_cosine", "min_top1"),
}
_ARTICLE: Mapping[Kind, str] = {
    "decoder": "a text generator",
    "encoder": "an encoder",
    "reranker": "a reranker",
    "classifier": "an image classifier",
}


def refuse_foreign_thresholds(loaded: LoadedRecipe, kind: Kind, architecture: str) -> None:
    """Raises InputError for a threshold of another kind of model."""
    # In their order, once each.
    foreign = [name for name in dict.fromkeys(n for names in _OWN.values() for n in names) if name not in _OWN[kind]]
    mistakes = [
        Diagnostic(
            message=f"`prove.{name}` means nothing for this model: {architecture} is {_ARTICLE[kind]}",
            hint=f"remove it; the proof of {_ARTICLE[kind]} takes {listed(_OWN[kind])}",
            span=loaded.span("prove", name),
        )
        for name in foreign
        if getattr(loaded.recipe.prove, name) is not None
    ]
    if mistakes:
        raise InputError(*mistakes)
