"""`edgec plan`: what a build would do, before anything is downloaded or written."""

from __future__ import annotations

from pathlib import Path

import click

from edgec import api
from edgec.commands.output import Output, output_options
from edgec.commands.plan_text import as_json, as_text
from edgec.plan.make import refuse_misfits


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change one value of the recipe.")
@click.option("--output", "-o", "output_folder", type=click.Path(path_type=Path), default=Path("artifacts"))
@click.option("--offline", is_flag=True, help="Open no connection.")
@output_options
def command(*, output: Output, recipe: Path, sets: tuple[str, ...], output_folder: Path, offline: bool) -> None:
    """Show what a build of RECIPE would do, why, whether it fits the target and how fast it will be."""
    workshop = api.Workshop(offline=offline, report=output.reporter)
    made = api.plan(recipe, sets=sets, workshop=workshop, output=output_folder)
    output.result(as_json(made), as_text(made))
    # The plan is shown first, so that a person sees what does not fit.
    refuse_misfits(made)
