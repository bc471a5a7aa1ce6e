"""`edgec verify`: is this bundle exactly what a trusted key signed, was it proven, and does it run?"""

from __future__ import annotations

from pathlib import Path

import click

from edgec.bundle.keyfile import load_public_key
from edgec.bundle.keyring import trusted_keys
from edgec.bundle.summary import verification_json, verification_text
from edgec.bundle.unpack import unpack
from edgec.bundle.verify import verify_bundle
from edgec.commands.output import Output, output_options
from edgec.store.paths import cache_home, config_home
from edgec.trial.folders import trial_folder
from edgec.trial.model import Trial, require_passed
from edgec.trial.run import TRIALS, Stage, run_emulation, run_trials


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The publisher's public key; only this one will do.")
@click.option("--accept-development-key", is_flag=True, help="Accept another machine's development key.")
@click.option(
    "--run",
    "names",
    type=click.Choice(list(TRIALS)),
    multiple=True,
    help="Also try the bundle on this software, which is installed for it; may be given again.",
)
@click.option("--emulate", is_flag=True, help="Also run it on an emulated processor of its target (64-bit ARM).")
@click.option("--offline", is_flag=True, help="With --run and --emulate: install without a network.")
@output_options
def command(
    *,
    bundle: Path,
    key: Path | None,
    accept_development_key: bool,
    names: tuple[str, ...],
    emulate: bool,
    offline: bool,
    output: Output,
) -> None:
    """Verify BUNDLE: a bundle folder, its .tar, or an unpacked folder.

    The signing key must be given with --key, be one of your own, or be trusted (`edgec keys trust`).
    """
    public_key, trusted = load_public_key(key) if key else None, trusted_keys(config_home())
    trials: tuple[Trial, ...] = ()
    if names or emulate:
        with trial_folder("verify") as folder:
            # What is tried are the bytes that verified: they are written while they are hashed.
            result = unpack(
                bundle,
                folder / "bundle",
                public_key=public_key,
                trusted=trusted,
                accept_development_key=accept_development_key,
                report=output.reporter,
            )
            stage = Stage(folder / "bundle", cache_home(), offline, output.reporter)
            trials = run_emulation(stage) if emulate else ()
            trials += run_trials(list(dict.fromkeys(names)), stage)
    else:
        result = verify_bundle(
            bundle,
            public_key=public_key,
            trusted=trusted,
            accept_development_key=accept_development_key,
            report=output.reporter,
        )
    require_passed(trials)
    data = {**verification_json(result), "trials": [trial.as_json() for trial in trials]}
    output.result(data, "\n".join([verification_text(result), *(trial.as_text() for trial in trials)]))
