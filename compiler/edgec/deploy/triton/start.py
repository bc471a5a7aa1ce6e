"""start.sh: how a repository is served, with only the backends it needs and the memory limit of its device; and
load.sh: how a new version gets into the running server.

Rule: the scripts are POSIX sh, and every value of the recipe in them is quoted.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edgec.deploy.triton.model_config import ModelConfig
from edgec.deploy.triton.templates import render
from edgec.recipe.package import TritonPorts

# Python packages by the name they are imported by; `numpy<2`: see the script.
_NUMPY = ("numpy", "numpy<2")
# What tritonserver must be allowed to have as data, stacks of 16 MiB included: with less it does not start.
_LEAST_DATA_MIB = 1300


@dataclass(frozen=True)
class EngineCheck:
    """An engine that is built on the device. `config`: in the repository, says where it stands (`gpt_model_path`).

    `files`: of it; `how`: the command that makes it.
    """

    config: str
    files: tuple[str, ...]
    how: str


def start_script(
    models: Sequence[ModelConfig],
    *,
    ports: TritonPorts,
    memory_mib: int,
    packages: Sequence[tuple[str, str]] = (),
    engine: EngineCheck | None = None,
) -> bytes:
    """start.sh for a repository of `models`; those that others name as steps are loaded with these.

    `packages`: what the python backend's models import, as (module, requirement). `memory_mib`: the default limit.
    `engine`: what must stand on the device besides the repository.
    """
    backends = sorted({m.backend for m in models if m.backend is not None})
    needed = (_NUMPY, *packages) if "python" in backends else ()
    return render(
        "start.sh.j2",
        ports=ports,
        memory_mib=memory_mib,
        least_data_mib=_LEAST_DATA_MIB,
        backends=backends,
        modules=[module for module, _ in needed],
        packages=" ".join(shlex.quote(requirement) for _, requirement in needed),
        models=_entry_points(models),
        engine=engine,
    )


def load_script(model: str, ports: TritonPorts) -> bytes:
    """load.sh for the model of this name, at most 127 bytes long."""
    name = model.encode()
    # Field 2 of RepositoryModelLoadRequest is a text.
    request = bytes((0x12, len(name))) + name
    message = b"\0" + struct.pack(">I", len(request)) + request
    return render("load.sh.j2", model=model, ports=ports, message="".join(f"\\{byte:03o}" for byte in message))


def _entry_points(models: Sequence[ModelConfig]) -> list[str]:
    """The models a client asks for; Triton loads the steps of an ensemble with it."""
    steps = {step.model_name for model in models for step in model.steps}
    return sorted(model.name for model in models if model.name not in steps)
