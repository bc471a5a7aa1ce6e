"""Which thresholds of `prove:` mean something for which kind of model, whatever its format.

Rule: one that nothing would be compared with is refused at its line.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgec.documents.wording import listed
from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.model import ModelKind
from edgec.recipe.load import LoadedRecipe

_OWN: Mapping[ModelKind, tuple[str, ...]] = {
    "decoder": ("max_kl", "min_top1", "max_perplexity_ratio"),
    "encoder": ("min_cosine",),
    "reranker": ("max_score_error",),
}
_ARTICLE: Mapping[ModelKind, str] = {
    "decoder": "a text generator",
    "encoder": "an encoder",
    "reranker": "a reranker",
}


def refuse_foreign_thresholds(loaded: LoadedRecipe, kind: ModelKind, architecture: str) -> None:
    """Raises InputError for a threshold of another kind of model."""
    foreign = [name for other, names in _OWN.items() if other != kind for name in names]
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
