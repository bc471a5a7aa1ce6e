"""`edgec keys`: make, show and trust signing keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edgec.bundle.keyfile import PASSWORD_VARIABLE, load_public_key, new_key, public_path
from edgec.bundle.keyring import TrustedKey, keys_folder, trust, trusted_keys
from edgec.commands.output import Output, output_options
from edgec.store.paths import config_home


@click.group("keys")
def command() -> None:
    """Make, show and trust the keys that sign bundles (EC P-256)."""


@command.command("new")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@output_options
def new(path: Path | None, output: Output) -> None:
    """Make a signing key at PATH (default: the key your builds sign with).

    An existing key is never overwritten. With EDGEC_SIGNING_KEY_PASSWORD set, the key is encrypted.
    """
    path = path or keys_folder(config_home()) / "signing.key"
    password = os.environ.get(PASSWORD_VARIABLE)
    key = new_key(path, password=password.encode() if password else None)
    public = public_path(path)
    text = (
        f"private key {path}: keep it secret, and keep a copy\n"
        f"public key  {public}: give it to those who verify\n"
        f"fingerprint {key.public.fingerprint}"
    )
    output.result({"private": str(path), "public": str(public), "fingerprint": key.public.fingerprint}, text)


@command.command("list")
@output_options
def list_keys(output: Output) -> None:
    """List the keys this machine accepts: its own and the trusted ones."""
    keys = trusted_keys(config_home())
    lines = [f"{_role(key):<12} {key.name:<20} {key.key.fingerprint}" for key in keys]
    hint = "no keys: make one with `edgec keys new`, or trust a publisher's with `edgec keys trust`"
    output.result({"keys": [_as_json(key) for key in keys]}, "\n".join(lines) or hint)


@command.command("show")
@click.argument("public", type=click.Path(path_type=Path))
@output_options
def show(public: Path, output: Output) -> None:
    """Show the fingerprint of the public key in the file PUBLIC."""
    key = load_public_key(public)
    pem = key.pem.decode()
    output.result({"fingerprint": key.fingerprint, "pem": pem}, f"{key.fingerprint}\n{pem.rstrip()}")


@command.command("trust")
@click.argument("public", type=click.Path(path_type=Path))
@output_options
def trust_key(public: Path, output: Output) -> None:
    """Accept bundles signed with the public key in the file PUBLIC.

    Compare the fingerprint with one you got from the publisher by another way.
    """
    key = trust(config_home(), public)
    text = f"trusted as `{key.name}`: {key.key.fingerprint}\nremove {key.path} to end that"
    output.result(_as_json(key), text)


def _role(key: TrustedKey) -> str:
    if key.development:
        return "development"
    return "own" if key.own else "trusted"


def _as_json(key: TrustedKey) -> dict[str, Any]:
    return {"name": key.name, "role": _role(key), "fingerprint": key.key.fingerprint, "path": str(key.path)}
