"""The Triton emitter's three verbs: what a recipe may ask for, what this model cannot have, the files.

Rule: pure; the same settings and model always make the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgec.deploy.model import Emitted, Mistake, ServedModel
from edgec.recipe.model import Recipe
from edgec.recipe.package import TritonPackage


def check(settings: TritonPackage, recipe: Recipe) -> Iterator[Mistake]:
    """Mistakes that the recipe alone shows, for `edgec check`."""
    return iter(())


def refuse(settings: TritonPackage, model: ServedModel) -> Iterator[Mistake]:
    """What the settings ask for that this model on this device cannot do."""
    return iter(())


def emit(settings: TritonPackage, model: ServedModel) -> Emitted:
    """The repository's files, below `triton/`."""
    return Emitted({})
