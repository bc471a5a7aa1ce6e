"""`edgec toolchain`: the external tools that some steps need, each in a locked environment of its own."""

from __future__ import annotations

from typing import Any

import click

from edgec import api
from edgec.commands.output import Output, output_options
from edgec.commands.sizes import mib
from edgec.toolchain.environments import Environment
from edgec.toolchain.inventory import Standing


@click.group("toolchain")
def command() -> None:
    """List, install or remove the external tools that some steps need.

    A step installs what it needs by itself; do it beforehand for work without a network.
    """


@command.command("list")
@output_options
def list_toolchains(output: Output) -> None:
    """List the toolchains and which of them are installed."""
    standing = api.toolchains(api.Workshop())
    output.result({"toolchains": [_as_json(s) for s in standing]}, "\n".join(_line(s) for s in standing))


@command.command("install")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--offline", is_flag=True, help="Open no connection: only wheels that are here.")
@output_options
def install(names: tuple[str, ...], offline: bool, output: Output) -> None:
    """Install toolchains, if they are not installed."""
    shop = api.Workshop(offline=offline, report=output.reporter)
    made = [api.install_toolchain(name, shop) for name in names]
    text = "\n".join(f"{e.toolchain.name}: {len(e.versions)} distributions in {e.folder}" for e in made)
    output.result({"toolchains": [_environment(e) for e in made]}, text)


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@output_options
def remove(names: tuple[str, ...], output: Output) -> None:
    """Remove toolchains; their wheels stay for the next install (`edgec clean --toolchains` removes those)."""
    shop = api.Workshop(report=output.reporter)
    freed = {name: api.remove_toolchain(name, shop) for name in names}
    lines = [f"{name}: freed {mib(size)}" if size else f"{name}: is not installed" for name, size in freed.items()]
    output.result({"removed": freed}, "\n".join(lines))


def _line(standing: Standing) -> str:
    state = "not installed" if standing.environment is None else f"installed, {mib(standing.size_bytes)}"
    older = f"; older ones: {len(standing.stale)}" if standing.stale else ""
    return f"{standing.toolchain.name:<12} {state}{older}\n             {standing.toolchain.title}"


def _as_json(standing: Standing) -> dict[str, Any]:
    toolchain = standing.toolchain
    return {
        "name": toolchain.name,
        "title": toolchain.title,
        "python": toolchain.python,
        "lock_digest": toolchain.lock_digest,
        "disk_mib": toolchain.disk_mib,
        "memory_mib": toolchain.memory_mib,
        "installed": None if standing.environment is None else _environment(standing.environment),
        "size_bytes": standing.size_bytes,
        "stale": [str(folder) for folder in standing.stale],
    }


def _environment(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.toolchain.name,
        "folder": str(environment.folder),
        "python": str(environment.python),
        "lock_digest": environment.lock_digest,
        "versions": dict(environment.versions),
    }
