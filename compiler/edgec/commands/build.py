"""`edgec build`: from a recipe to a signed, proven bundle."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgec import api
from edgec.build.built import Built, BuiltArtifact
from edgec.bundle.keyring import TrustedKey, trusted_keys
from edgec.commands.output import Output, output_options
from edgec.commands.sizes import mib
from edgec.store.paths import config_home


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change one value of the recipe.")
@click.option(
    "--output", "-o", "output_folder", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True
)
@click.option("--archive", is_flag=True, help="Also write the bundle as one .tar.")
@click.option("--offline", is_flag=True, help="Open no connection.")
@output_options
def command(
    *, output: Output, recipe: Path, sets: tuple[str, ...], output_folder: Path, archive: bool, offline: bool
) -> None:
    """Build, prove and sign the bundle of RECIPE."""
    workshop = api.Workshop(offline=offline, report=output.reporter)
    built = api.build(recipe, sets=sets, workshop=workshop, output=output_folder, archive=archive)
    output.result(as_json(built), as_text(built, trusted_keys(config_home())))


def as_json(built: Built) -> dict[str, Any]:
    """The result for `--json`."""
    return {
        "bundle": str(built.path),
        "digest": built.digest,
        "size_bytes": built.size_bytes,
        "report": str(built.report),
        "archive": None if built.archive is None else str(built.archive),
        "key": built.signer.fingerprint,
        "development_key": built.signer.is_development,
        "cached": built.cached,
        "wall_s": round(built.wall_s, 3),
        "finishes_on_device": built.finishes_on_device,
        "engines": [str(engine) for engine in built.engines],
        "carried": list(built.carried),
        "artifacts": [{"name": a.name, "scheme": a.scheme, "route": a.proof.route} for a in built.artifacts],
        "proofs": [p.model_dump(mode="json") for p in built.proofs],
        "not_verified": [n.model_dump(mode="json") for n in built.not_verified],
    }


def as_text(built: Built, keys: Sequence[TrustedKey]) -> str:
    """The result for people: the bundle, its proof, what to do next. `keys`: this machine's, with their files."""
    lines = ["", f"bundle   {built.path}  ({mib(built.size_bytes)})" + ("  unchanged" if built.cached else "")]
    lines.append(f"digest   {built.digest}")
    lines.append(f"target   {built.target_title}")
    for artifact in built.artifacts:
        lines += _route(artifact)
        lines.append(f"proof    {artifact.name} on {artifact.proof.runtime}")
        lines += [f"         {'ok  ' if c.passed else 'MISS'} {c.as_text()}" for c in artifact.proof.checks]
        lines += [f"speed    {s.low_tok_s:.0f} to {s.high_tok_s:.0f} tokens/s with {s.runtime} (predicted)"
                  for s in artifact.speeds]  # fmt: skip
    lines += [f"carries  {line}" for line in built.carried]
    lines += [f"engine   {engine}, built and proven on this machine" for engine in built.engines]
    lines.append(f"report   {built.report}")
    whose = "development key of this machine" if built.signer.is_development else "your key"
    lines.append(f"signed   {built.signer.fingerprint[:19]} ({whose})")
    lines += ["", "not verified:", *(f"  {n.what}: {n.why}" for n in built.not_verified)]
    path = shlex.quote(str(built.path))
    lines += ["", "next:", f"  edgec verify {path}", f"  edgec unpack {path} model/"]
    if built.signer.is_development:
        lines.append("  edgec keys new            # a key of your own: devices should not trust a development key")
    if built.finishes_on_device and not built.engines:
        lines += ["", *_on_the_device(built, keys)]
    return "\n".join(lines)


def _route(artifact: BuiltArtifact) -> list[str]:
    """The route by which an artifact was made, where its scheme does not name it."""
    return [f"route    {artifact.name} by {a.name}: {a.title}" for a in artifact.proof.attempts
            if a.chosen and a.name != artifact.scheme]  # fmt: skip


def _on_the_device(built: Built, keys: Sequence[TrustedKey]) -> list[str]:
    """The command that makes the engine, as it runs in the folder to which the bundle and the key were copied."""
    public = next((key.path for key in keys if key.key.fingerprint == built.signer.fingerprint), None)
    what = "the public half of the key that signed it, KEY.pub" if public is None else str(public)
    key = "KEY.pub" if public is None else shlex.quote(public.name)
    command = f"edgec device finalize {shlex.quote(built.path.name)} --key {key}"
    if built.signer.is_development:
        command += " --accept-development-key"
    lines = ["on the device, which builds the engine and proves it;", f"copy the bundle and {what} there:"]
    if built.state_home is not None:
        # Where the bundle's server looks for the engine, which is not where edgec keeps engines else.
        lines.append(f'  sudo install -d -o "$USER" {built.state_home}/edgec')
        command = f"XDG_STATE_HOME={built.state_home} {command}"
    return [*lines, f"  {command}"]
