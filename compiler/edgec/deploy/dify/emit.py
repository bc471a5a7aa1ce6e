"""The Dify emitter's verbs: what a recipe may ask for, what this model cannot have, the package, its signature.

Rule: pure; the same settings, model, wheels and key always make the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edgec.deploy.model import Emitted, Mistake, ServedModel
from edgec.recipe.model import Recipe
from edgec.recipe.package import DifyPackage


def check(settings: DifyPackage, recipe: Recipe, resolve: Callable[[str], Path]) -> Iterator[Mistake]:
    """Mistakes that the recipe and the files it names show, for `edgec check`."""
    return iter(())


def refuse(settings: DifyPackage, model: ServedModel) -> Iterator[Mistake]:
    """What the settings ask for that this model cannot do."""
    return iter(())


def emit(settings: DifyPackage, model: ServedModel, resolve: Callable[[str], Path]) -> Emitted:
    """The package, not signed yet and without wheels, as `dify/<author>-<name>-<version>.difypkg`."""
    return Emitted({})
