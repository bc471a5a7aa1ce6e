"""`edgec unpack`: the files of a verified bundle, in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.bundle.keyfile import load_public_key
from edgec.bundle.keyring import trusted_keys
from edgec.bundle.summary import verification_json, verification_text
from edgec.bundle.unpack import unpack
from edgec.commands.output import Output, output_options
from edgec.store.paths import config_home


@click.command("unpack")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The publisher's public key; only this one will do.")
@click.option("--accept-development-key", is_flag=True, help="Accept another machine's development key.")
@output_options
def command(bundle: Path, destination: Path, key: Path | None, accept_development_key: bool, output: Output) -> None:
    """Verify BUNDLE and write its files to the new folder DESTINATION."""
    result = unpack(
        bundle,
        destination,
        public_key=load_public_key(key) if key else None,
        trusted=trusted_keys(config_home()),
        accept_development_key=accept_development_key,
        report=output.reporter,
    )
    data = {**verification_json(result), "destination": str(destination)}
    output.result(data, f"{verification_text(result)}\nunpacked to {destination}")
