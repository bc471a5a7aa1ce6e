"""`edgec clean`: makes room in the store."""

from __future__ import annotations

import click

from edgec import api
from edgec.commands.output import Output, output_options
from edgec.commands.sizes import mib


@click.command()
@click.option(
    "--references", is_flag=True, help="Only unquantized models, which a rebuild makes again when it needs them."
)
@click.option("--damaged", is_flag=True, help="Only results that the disk spoiled; reads all of them to find out.")
@click.option(
    "--toolchains", is_flag=True, help="Only what stands of toolchains and no build needs: older locks, kept wheels."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@output_options
def command(*, output: Output, references: bool, damaged: bool, toolchains: bool, dry_run: bool) -> None:
    """Remove stored results. Bundles are not touched; the next build makes again what it needs.

    What a running build uses stays, and so do installed toolchains: see `edgec toolchain remove`.
    """
    if toolchains and (references or damaged):
        raise click.UsageError("--toolchains does not go together with --references or --damaged")
    shop = api.Workshop(report=output.reporter)
    if toolchains:
        removed = api.clean_toolchains(shop, dry_run=dry_run)
    else:
        removed = api.clean(shop, references_only=references, damaged_only=damaged, dry_run=dry_run)
    total = sum(removed.values())
    kind = "folders" if toolchains else "results"
    verb = "would free" if dry_run else "freed"
    output.result(
        {"removed": list(removed), "bytes": total, "dry_run": dry_run}, f"{verb} {mib(total)} in {len(removed)} {kind}"
    )
