"""The exporter's environment, installed once, and what it made of small checkpoints, each exported once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from edgellm_checkpoints import Exported, make_checkpoint

from edgec.errors import ToolError
from edgec.events import Event, silent
from edgec.formats.edgellm.export import export_edgellm
from edgec.formats.edgellm.layout import plan_edgellm
from edgec.formats.edgellm.versions import version_for
from edgec.toolchain.environments import Environment, find_toolchain, install
from edgec.toolchain.interpreter import find_interpreter


@pytest.fixture(scope="session")
def exporter(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain `edgellm`, installed."""
    toolchain = find_toolchain("edgellm")
    try:
        find_interpreter(toolchain, os.environ)
    except ToolError as error:
        pytest.skip(error.diagnostics[0].message)
    log = tmp_path_factory.mktemp("install") / "log"
    return install(toolchain, toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture(scope="session")
def export_once(exporter: Environment, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Exported]:
    """Exports a model in a scheme, the first time it is asked for. Nobody changes what stands there."""
    made: dict[tuple[str, str], Exported] = {}

    def export(model: str, scheme: str) -> Exported:
        if (model, scheme) not in made:
            base = tmp_path_factory.mktemp(f"{model}-{scheme}")
            checkpoint = make_checkpoint(base / "checkpoint", model, scheme)
            layout = plan_edgellm(checkpoint.header, scheme, version_for("7.2"))
            out, events = base / "out", list[Event]()
            result = export_edgellm(exporter, checkpoint, layout, out, report=events.append, log=base / "log")
            made[model, scheme] = Exported(checkpoint, layout, out, result, tuple(events))
        return made[model, scheme]

    return export
