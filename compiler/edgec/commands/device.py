"""`edgec device`: what a device is, and how a bundle becomes an engine on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgec.bundle.keyfile import load_public_key, public_path
from edgec.bundle.keyring import trusted_keys
from edgec.commands.output import Output, output_options
from edgec.device.check_receipt import check_receipt
from edgec.device.device_key import device_key, key_path
from edgec.device.facts import facts_text, read_facts
from edgec.device.finalize import Bench, finalize
from edgec.device.summary import finalized_text, receipt_text
from edgec.errors import InputError
from edgec.store.paths import config_home, state_home


@click.group("device")
def command() -> None:
    """On the device itself: its facts, engines built from bundles, and their receipts."""


@command.command("facts")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), help="The file system of another device.")
@output_options
def facts(root: Path, output: Output) -> None:
    """Show what this device is, and how each fact was found."""
    if not root.is_dir():
        raise InputError.of("there is no such folder", place=str(root), hint="name the root of a device's file system")
    found = read_facts(root, state_home())
    output.result({"facts": found.model_dump(mode="json")}, facts_text(found))


@command.command("finalize")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--artifact", help="Which artifact, where the bundle has several for a device.")
@click.option("--key", type=click.Path(path_type=Path), help="The publisher's public key; only this one will do.")
@click.option("--accept-development-key", is_flag=True, help="Accept another machine's development key.")
@click.option("--tools", type=click.Path(path_type=Path), help="The folder of the vendor's programs (default: PATH).")
@click.option(
    "--stand-in", type=click.Path(path_type=Path), help="For tests: a script in place of the vendor's programs."
)
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), help="For tests, with --stand-in: a device's files."
)
@output_options
def finalize_bundle(
    *,
    bundle: Path,
    artifact: str | None,
    key: Path | None,
    accept_development_key: bool,
    tools: Path | None,
    stand_in: Path | None,
    root: Path,
    output: Output,
) -> None:
    """Build the engine of BUNDLE on this device, prove it and put it into use.

    Goes on where an earlier run was interrupted. The engine in use stays until the new one is proven. With --stand-in,
    nothing that is made is an engine: it stands apart, and its receipt says so.
    """
    bench = Bench(
        trusted=trusted_keys(config_home()),
        public_key=load_public_key(key) if key else None,
        accept_development_key=accept_development_key,
        tools=tools,
        stand_in=stand_in,
        root=root,
        report=output.reporter,
    )
    result = finalize(bundle, artifact=artifact, bench=bench)
    data: dict[str, Any] = {
        "engine": str(result.place.engine),
        "receipt_file": str(result.place.receipt),
        "current": str(result.place.shelf / "current"),
        "done": result.done,
        "warnings": list(result.warnings),
        "receipt": result.receipt.model_dump(mode="json", by_alias=True),
    }
    output.result(data, finalized_text(result))


@command.command("receipt")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The device's public key (default: this device's own).")
@click.option("--engine", type=click.Path(path_type=Path), help="Also compare the files of this engine.")
@click.option("--accept-stand-in", is_flag=True, help="For tests: accept the receipt of what a stand-in built.")
@output_options
def receipt(*, file: Path, key: Path | None, engine: Path | None, accept_stand_in: bool, output: Output) -> None:
    """Verify the receipt in FILE: who signed it, and what it says."""
    found = check_receipt(
        file,
        config=config_home(),
        public_key=load_public_key(key) if key else None,
        engine=engine,
        accept_stand_in=accept_stand_in,
    )
    data = {"verified": True, "signer": found.signer, "receipt": found.receipt.model_dump(mode="json", by_alias=True)}
    output.result(data, receipt_text(found))


@command.command("key")
@output_options
def key(output: Output) -> None:
    """Show this device's public key, which verifies its receipts; it is made if there is none."""
    public = device_key(config_home(), report=output.reporter).public
    file = public_path(key_path(config_home()))
    text = f"{public.fingerprint}\n{public.pem.decode().rstrip()}\nin {file}: give it to those who verify"
    output.result({"fingerprint": public.fingerprint, "pem": public.pem.decode(), "public": str(file)}, text)
