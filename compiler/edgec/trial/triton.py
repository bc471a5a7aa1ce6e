"""Tries the Triton repository of an unpacked bundle on a real tritonserver, from the first start to the last metric.

Rule: what an operator's clients will do is done here: good requests and bad ones, many at once, one that leaves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from edgec.errors import ToolError
from edgec.events import ActionFinished, ActionStarted, Progress, Reporter, silent
from edgec.prove.model import Check
from edgec.toolchain.environment import Environment
from edgec.trial.triable import REPOSITORY, triton_models
from edgec.trial.triton_client import TritonModel
from edgec.trial.triton_decoder import DECODER_STEPS
from edgec.trial.triton_model_checks import SEE_LOG, Step
from edgec.trial.triton_server import NotServedError, triton_server
from edgec.trial.triton_vectors import ENCODER_STEPS, RERANKER_STEPS
from edgec.trial.verdicts import none_of

_ACTION = "try triton"
_START_TIMEOUT_S = 600.0
_STEPS: Mapping[str, tuple[Step, ...]] = {
    "decoder": DECODER_STEPS,
    "encoder": ENCODER_STEPS,
    "reranker": RERANKER_STEPS,
}


def try_triton(
    bundle_folder: Path, *, environment: Environment, report: Reporter = silent, logs: Path
) -> tuple[Check, ...]:
    """Serves the unpacked bundle and tries it; the checks say what held and what did not.

    A version folder is added to the bundle's repository on the way. The server's log is `triton.log` in `logs`.
    Raises InputError when the bundle has nothing that can be tried, ToolError when this machine cannot run the server.
    """
    repository, names = bundle_folder / REPOSITORY, triton_models(bundle_folder)
    began = time.monotonic()
    report(ActionStarted(_ACTION, "trial", f"serve {', '.join(names)} on a real tritonserver"))
    log = logs / "triton.log"
    try:
        with triton_server(environment, repository, models=names, log=log, timeout_s=_START_TIMEOUT_S) as server:
            checks = [none_of("models loaded", [], len(names), "not loaded", hint=f"see {log}")]
            for name in names:
                checks += _tried(TritonModel(server, name), repository / name, report)
    except NotServedError as error:
        checks = [none_of("models loaded", [error.diagnostics[0].message], len(names), "failed", hint=f"see {log}")]
    report(ActionFinished(_ACTION, "trial", cached=False, wall_s=time.monotonic() - began))
    return tuple(checks)


def _tried(model: TritonModel, folder: Path, report: Reporter) -> list[Check]:
    steps = _STEPS[model.parameters()["kind"]]
    checks = []
    for done, step in enumerate(steps):
        name = step.__name__.replace("_", " ")
        report(Progress(_ACTION, done, len(steps), "checks", name))
        try:
            check = step(model, folder)
        except ToolError as error:
            # No answer, or an error where none may be, is what a trial is to find.
            check = none_of(name, [error.diagnostics[0].message], 1, "failed", hint=SEE_LOG)
        checks.append(check.model_copy(update={"hint": f"the server's log is {model.server.log}; {check.hint}"}))
    return checks
