"""The exporter's environment, installed once, and what it made of small checkpoints, each exported once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgellm_checkpoints import (
    LLAMA3,
    QWEN2,
    QWEN3,
    docs_llama_config,
    docs_llama_tensors,
    random_tensors,
    write_checkpoint,
    write_quantized,
)

from edgec.errors import ToolError
from edgec.events import silent
from edgec.formats.edgellm.export import EdgeLlmExport, export_edgellm
from edgec.formats.edgellm.layout import EdgeLlmLayout, plan_edgellm
from edgec.formats.edgellm.versions import version_for
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.toolchain.environments import Environment, find_toolchain, install
from edgec.toolchain.interpreter import find_interpreter

CONFIGS = {"llama": LLAMA3, "qwen2": QWEN2, "qwen3": QWEN3}


@dataclass(frozen=True)
class Exported:
    """A checkpoint, its plan, and the exporter's result in `folder`."""

    checkpoint: Checkpoint
    layout: EdgeLlmLayout
    folder: Path
    result: EdgeLlmExport


def make_checkpoint(folder: Path, model: str, scheme: str) -> Checkpoint:
    """A small checkpoint as the exporter takes it for this scheme."""
    config = docs_llama_config() if model == "docs-llama" else CONFIGS[model]
    tensors = docs_llama_tensors() if model == "docs-llama" else random_tensors(config)
    if scheme == "fp16":
        return open_local(write_checkpoint(folder, config, tensors))
    return open_local(write_quantized(folder, config, tensors, scheme))


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
            out = base / "out"
            result = export_edgellm(exporter, checkpoint, layout, out, report=silent, log=base / "log")
            made[model, scheme] = Exported(checkpoint, layout, out, result)
        return made[model, scheme]

    return export
