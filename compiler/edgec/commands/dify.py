"""`edgec dify`: keys for Dify plugin packages, and their signatures; also for packages that edgec did not make."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from edgec.commands.output import Output, output_options
from edgec.deploy.dify.keyring import find_dify_key, is_own, own_public_keys, signing_path
from edgec.deploy.dify.keys import DEFAULT_BITS, SIZES_BITS, load_dify_public_key, new_dify_key, public_path
from edgec.deploy.dify.package import open_package, write_package
from edgec.deploy.dify.signature import (
    NAMES_NOT_COVERED,
    has_signature,
    sign_package,
    signing_time,
    unique_id,
    verify_package,
)
from edgec.errors import InputError
from edgec.events import Note
from edgec.store.atomic import write_file
from edgec.store.paths import config_home

_SUFFIX = ".difypkg"


@click.group("dify")
def command() -> None:
    """Make keys for Dify plugin packages, sign packages and verify them."""


@command.command("keygen", short_help="Make an RSA key and its public half.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--bits", type=click.Choice([str(b) for b in SIZES_BITS]), default=str(DEFAULT_BITS), show_default=True)
@output_options
def keygen(path: Path | None, bits: str, output: Output) -> None:
    """Make an RSA key at PATH (default: the key your builds sign Dify packages with).

    An existing key is never overwritten. Dify takes keys without a password only: keep the file to yourself.
    """
    path = path or signing_path(config_home())
    key = new_dify_key(path, bits=int(bits))
    public = public_path(path)
    text = (
        f"private key {path}: keep it secret, and keep a copy\n"
        f"public key  {public}: give it to the operators of Dify\n"
        f"fingerprint {key.public.fingerprint}"
    )
    output.result({"private": str(path), "public": str(public), "fingerprint": key.public.fingerprint}, text)


@command.command("sign", short_help="Sign a package, whoever made it.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The private key. Default: EDGEC_DIFY_KEY, else your key.")
@click.option(
    "--output", "-o", "target", type=click.Path(path_type=Path), help="Default: PACKAGE with `.signed` in it."
)
@output_options
def sign(package: Path, key: Path | None, target: Path | None, output: Output) -> None:
    """Sign PACKAGE, a `.difypkg` file, for third-party verification in Dify.

    The file itself stays as it is. SOURCE_DATE_EPOCH sets the time in the signature; without it the time is fixed, so
    that the same package and key give the same bytes.
    """
    found = find_dify_key(config_home(), key, os.environ, report=output.reporter)
    if found is None:
        raise InputError.of("no key to sign with", hint="name one with --key, or make one with `edgec dify keygen`")
    if found[1]:
        output.reporter(Note("this is the development key of this machine; no operator should trust it", "warning"))
    opened = open_package(package)
    signed = sign_package(opened, found[0], unix_s=signing_time(os.environ))
    # Before anything is written: who the plugin is may be what Dify refuses.
    identifier = unique_id(signed, place=str(package))
    target = target or package.with_name(f"{package.name.removesuffix(_SUFFIX)}.signed{_SUFFIX}")
    data = write_package(signed)
    _refuse_other(target, data)
    write_file(target, data)
    if has_signature(opened):
        output.reporter(Note("the package was signed already; the new file has the new signature only"))
    result = {
        "package": str(target),
        "unique_id": identifier,
        "key": found[0].public.fingerprint,
        "development_key": found[1],
    }
    output.result(result, f"signed    {target}\nunique id {identifier}\nkey       {result['key']}")


@command.command("verify", short_help="Verify the signature of a package.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--key", "keys", multiple=True, type=click.Path(path_type=Path), help="The publisher's public key.")
@click.option("--unique-id", "expected", help="Also demand that the package is this very one, names included.")
@output_options
def verify(package: Path, keys: tuple[Path, ...], expected: str | None, output: Output) -> None:
    """Verify the signature of PACKAGE, a `.difypkg` file, as Dify's daemon does.

    Without --key, your own keys are accepted. What the signature does not cover, the names of the files, the unique
    identifier does: compare it with the publisher's.
    """
    accepted = tuple(map(load_dify_public_key, keys)) or own_public_keys(config_home())
    if not accepted:
        raise InputError.of("no key to verify with", hint="name the publisher's public key with --key")
    found = verify_package(open_package(package), accepted, expected_unique_id=expected, place=str(package))
    development, own = (is_own(config_home(), found.key, development=kind) for kind in (True, False))
    # With the identifier given, the names are known to be right.
    warnings = [] if expected is not None else [NAMES_NOT_COVERED]
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.signed_unix_s))
    lines = [
        f"verified  {package}",
        f"plugin    {found.identity.author}/{found.identity.name} {found.identity.version}",
        f"unique id {found.unique_id}",
        f"key       {found.key.fingerprint} (RSA, {found.key.bits} bits){_whose(development=development, own=own)}",
        f"time      {when}",
        *(f"note      {text}" for text in warnings),
    ]
    result = {
        "package": str(package),
        "author": found.identity.author,
        "name": found.identity.name,
        "version": found.identity.version,
        "unique_id": found.unique_id,
        "key": found.key.fingerprint,
        "own_key": own,
        "development_key": development,
        "time": when,
        "size_bytes": found.size_bytes,
        "warnings": warnings,
    }
    output.result(result, "\n".join(lines))


def _whose(*, development: bool, own: bool) -> str:
    if development:
        return ", the development key of this machine: no operator should trust it"
    return ", your own" if own else ""


def _refuse_other(target: Path, data: bytes) -> None:
    """Raises InputError when another file stands where the result shall go: nothing is overwritten."""
    if target.exists() and (not target.is_file() or target.read_bytes() != data):
        raise InputError.of(
            "another file stands there already",
            place=str(target),
            hint="name another one with --output, or move it away",
        )
