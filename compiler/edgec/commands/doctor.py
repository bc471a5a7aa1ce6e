"""`edgec doctor`: what of this machine and this installation would stop a build, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict

import click

from edgec import api
from edgec.commands.output import Output, output_options
from edgec.errors import ToolError


@click.command()
@output_options
def command(*, output: Output) -> None:
    """Check this machine and edgec's installation; exits 3 when a build would fail."""
    findings = api.doctor(api.Workshop(report=output.reporter))
    lines = [f"{'ok  ' if f.ok else 'FAIL' if f.required else 'note'}  {f.what}: {f.found}" for f in findings]
    hints = [f"      hint: {f.hint}" if f.hint and not f.ok else "" for f in findings]
    text = "\n".join(line for pair in zip(lines, hints, strict=True) for line in pair if line)
    output.result({"findings": [asdict(f) for f in findings]}, text)
    if any(f.required and not f.ok for f in findings):
        raise ToolError.of("a build would fail on this machine", hint="do what the hints above say")
