"""`edgec triton`: what helps with any Triton model repository, made by edgec or not."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.commands.output import Output, output_options
from edgec.deploy.triton.lint import lint_repository
from edgec.errors import InputError


@click.group("triton")
def command() -> None:
    """Check Triton model repositories."""


@command.command("lint")
@click.argument("repository", type=click.Path(path_type=Path))
@click.option(
    "--gpu/--no-gpu",
    "has_gpu",
    default=None,
    help="Whether the device has a GPU that Triton can use. Default: unknown.",
)
@output_options
def lint(repository: Path, has_gpu: bool | None, output: Output) -> None:
    """Check each config.pbtxt in REPOSITORY, and what a server would refuse besides.

    No server is started. Exit code 2 if there is any mistake.
    """
    mistakes = lint_repository(repository, has_gpu=has_gpu)
    if mistakes:
        raise InputError(*mistakes)
    models = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
    output.result({"repository": str(repository), "models": models}, f"{repository}: ok: {', '.join(models)}")
