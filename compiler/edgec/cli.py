"""The `edgec` command: finds the verb's module when it is needed, and is the only place that handles errors.

Rule: an `EdgecError` ends with its own exit code; anything unexpected is a bug, ends with 1 and leaves a log to send.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import platform
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType

import click

from edgec import __version__
from edgec.errors import Diagnostic, EdgecError, ExitCode, InputError
from edgec.patient_output import outlive_readers
from edgec.store.atomic import write_file
from edgec.store.paths import cache_home

# Verb -> one line for `edgec --help`; the module edgec.commands.<verb> is imported only when the verb is used.
VERBS = {
    "build": "Build, prove and sign the bundle of a recipe.",
    "plan": "Show what a build would do, whether it fits, and how fast it will be.",
    "check": "Check recipes and show every mistake.",
    "verify": "Verify a bundle: signature, digests, exact files, proof.",
    "inspect": "Show what is in a bundle.",
    "unpack": "Verify a bundle and write its files to a folder.",
    "device": "On the device: show what it is, build and prove an engine of a bundle, verify receipts.",
    "dify": "Make keys for Dify packages, sign packages and verify them.",
    "keys": "Make, show and trust signing keys.",
    "triton": "Check Triton model repositories.",
    "targets": "List target profiles, or show one.",
    "toolchain": "List, install or remove the external tools that some steps need.",
    "schema": "Print the JSON schema of recipes or targets.",
    "doctor": "Check this machine and edgec's installation.",
    "clean": "Remove stored results.",
}

_INTERRUPTED = "interrupted; no half-written result stays, and the next run goes on from what this one has finished"


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"edgec.commands.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"edgec.commands.{cmd_name}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Without importing every module to print one line of each.
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgec")
def cli() -> None:
    """Compile a model for an edge device: one recipe in, one signed and proven bundle out."""


def main() -> None:
    """Entry point of the `edgec` command; never returns."""
    outlive_readers()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code (see `ExitCode`)."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Looked up here, because a wrong command line fails before its options are read.
    as_json = "--json" in arguments
    try:
        with cli.make_context("edgec", arguments) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        if as_json:
            where = getattr(error, "ctx", None)
            usage = where.get_usage() if isinstance(where, click.Context) else None
            _show(InputError.of(error.format_message(), hint=usage), as_json=True)
        else:
            error.show()
        return int(ExitCode.INPUT)
    except EdgecError as error:
        _show(error, as_json=as_json)
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if as_json:
            _print_error(ExitCode.INTERRUPTED, [Diagnostic(_INTERRUPTED)])
        else:
            click.echo(f"\n{_INTERRUPTED}", err=True)
        return int(ExitCode.INTERRUPTED)
    except Exception as bug:  # the one place where a bug becomes exit code 1 and a log
        if isinstance(bug, OSError) and bug.errno == errno.ENOSPC:
            # What steps write is explained where it is written; this is our own output.
            click.echo("error: no space left for the command's output", err=True)
            return int(ExitCode.TOOL)
        hint = _log_bug()
        if as_json:
            _print_error(ExitCode.BUG, [Diagnostic(f"{type(bug).__name__}: {bug}", hint=hint)])
        return int(ExitCode.BUG)
    return int(ExitCode.OK)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(error: EdgecError, *, as_json: bool) -> None:
    if as_json:
        _print_error(error.exit_code, error.diagnostics, error.data)
        return
    click.echo(str(error), err=True)
    if len(error.diagnostics) > 1:
        click.echo(f"\n{len(error.diagnostics)} mistakes", err=True)


def _print_error(code: ExitCode, diagnostics: Sequence[Diagnostic], data: Mapping[str, object] | None = None) -> None:
    """The last line of a command with `--json` that did not end well."""
    found = [d.as_json() for d in diagnostics]
    click.echo(json.dumps({"event": "error", "exit_code": int(code), "diagnostics": found, **(data or {})}))


def _log_bug() -> str:
    """Writes the bug that is being handled to a log, says so on standard error, and returns what to do about it."""
    log = cache_home() / "logs" / f"bug-{os.getpid()}.log"
    header = f"edgec {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n"
    text = header + traceback.format_exc()
    click.echo(text.splitlines()[-1], err=True)
    try:
        write_file(log, text.encode())
    except EdgecError:
        click.echo(text, err=True)
        return "This is a bug in edgec. Please report it with what stands on standard error."
    hint = f"This is a bug in edgec. Please report it with this file: {log}"
    click.echo(hint, err=True)
    return hint
