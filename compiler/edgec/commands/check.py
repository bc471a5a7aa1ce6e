"""`edgec check`: every mistake of every recipe named, in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgec.commands.output import Output, output_options
from edgec.documents.typed import ordered
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.recipe.load import LoadedRecipe
from edgec.target.model import Target


@click.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value, for example context=2048.")
@output_options
def command(recipes: tuple[Path, ...], sets: tuple[str, ...], output: Output) -> None:
    """Check recipes and show every mistake: file, line, column and what to do.

    Nothing is downloaded or written. Exit code 2 if there is any mistake.
    """
    good: list[tuple[Path, LoadedRecipe, Target]] = []
    mistakes: list[Diagnostic] = []
    for path in dict.fromkeys(recipes):
        try:
            good.append((path, *load_checked(path, sets=sets)))
        except InputError as error:
            mistakes += error.diagnostics
    if mistakes:
        raise InputError(*ordered(mistakes))
    facts = [_facts(path, loaded, target) for path, loaded, target in good]
    output.result({"recipes": facts}, "\n".join(_line(*one) for one in good))


def _facts(path: Path, loaded: LoadedRecipe, target: Target) -> dict[str, Any]:
    recipe = loaded.recipe
    artifacts = [{"format": a.format, "scheme": a.quantize.scheme} for a in recipe.artifacts]
    return {
        "file": str(path),
        "name": recipe.name,
        "version": recipe.version,
        "target": target.name,
        "context": recipe.context,
        "artifacts": artifacts,
    }


def _line(path: Path, loaded: LoadedRecipe, target: Target) -> str:
    recipe = loaded.recipe
    made = ", ".join(f"{a.format} {a.quantize.scheme}" for a in recipe.artifacts)
    return f"{path}: ok: {recipe.name} {recipe.version} for {target.title}: {made}"
