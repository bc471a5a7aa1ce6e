"""`edgec inspect`: what a bundle says of itself."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.bundle.inspection import inspect_bundle
from edgec.bundle.keyring import trusted_keys
from edgec.bundle.summary import inspection_text
from edgec.commands.output import Output, output_options
from edgec.store.paths import config_home


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@output_options
def command(bundle: Path, output: Output) -> None:
    """Show what is in BUNDLE, without verifying it."""
    found = inspect_bundle(bundle, trusted=trusted_keys(config_home()))
    output.result(found.as_json(), inspection_text(found))
