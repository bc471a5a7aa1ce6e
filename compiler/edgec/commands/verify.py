"""`edgec verify`: is this bundle exactly what a trusted key signed, and was it proven?"""

from __future__ import annotations

from pathlib import Path

import click

from edgec.bundle.keyfile import load_public_key
from edgec.bundle.keyring import trusted_keys
from edgec.bundle.summary import verification_json, verification_text
from edgec.bundle.verify import verify_bundle
from edgec.commands.output import Output, output_options
from edgec.store.paths import config_home


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The publisher's public key; only this one will do.")
@click.option("--accept-development-key", is_flag=True, help="Accept another machine's development key.")
@output_options
def command(bundle: Path, key: Path | None, accept_development_key: bool, output: Output) -> None:
    """Verify BUNDLE: a bundle folder, its .tar, or an unpacked folder.

    The signing key must be given with --key, be one of your own, or be trusted (`edgec keys trust`).
    """
    result = verify_bundle(
        bundle,
        public_key=load_public_key(key) if key else None,
        trusted=trusted_keys(config_home()),
        accept_development_key=accept_development_key,
        report=output.reporter,
    )
    output.result(verification_json(result), verification_text(result))
