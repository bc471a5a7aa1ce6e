"""The vendor's programs on this device: what builds an engine, and the Python that can run one. Or their stand-in.

Rule: a stand-in is named as such in everything that is made with it, and never comes near the real engines.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.documents.canonical import sha256_file
from edgec.errors import DeviceError, InputError, ToolError
from edgec.events import Reporter, silent
from edgec.toolchain.dialogue import run_script
from edgec.toolchain.run import Answer
from edgec.toolchain.surroundings import for_tool

_INSIDE = Path(__file__).parent / "inside"
# Programs of ours that the vendor's Python runs.
SCRIPTS = {"edgellm-onnx-build": _INSIDE / "build_edgellm.py"}
RUNNERS = {"edgellm": _INSIDE / "run_edgellm.py", "trtllm": _INSIDE / "run_trtllm.py"}
# What the vendor calls the package of a backend.
PACKAGES = {"edgellm": "tensorrt-edgellm", "trtllm": "tensorrt-llm"}
# A command that every installation of a backend has.
_COMMANDS = {"edgellm": "tensorrt-edgellm-build", "trtllm": "trtllm-build"}
_ASK_TIMEOUT_S = 300.0
# The C++ programs of Edge-LLM find their TensorRT plugin by it.
_PASSED = ("EDGELLM_PLUGIN_PATH",)


@dataclass(frozen=True)
class Versions:
    """What the vendor's Python says of itself. None: it has no such package."""

    python: str
    backend: str | None
    tensorrt: str | None


@dataclass(frozen=True)
class Vendor:
    """How the vendor's programs are started. `stand_in`: `sha256:<hex>` of the script in their place, or None.

    `program` takes the place of a command's first word; `python` runs `runner`, a script as `toolchain/run.py` wants.
    """

    program: tuple[str, ...]
    python: Path
    runner: Path
    env: Mapping[str, str]
    stand_in: str | None = None

    def arguments(self, command: list[str]) -> list[str]:
        """The command line of a build."""
        return [*self.program, *command] if self.stand_in else [*self.program, *command[1:]]

    def ask(
        self, request: Mapping[str, Any], *, log: Path, timeout_s: float, action: str, report: Reporter = silent
    ) -> dict[str, Any]:
        """What the runner answers. Raises ToolError: it died, hung, or gave no answer."""
        answer = Answer(action, report)
        run_script(
            self.python,
            self.runner,
            request,
            on_line=answer.take,
            log=log,
            timeout_s=timeout_s,
            env=self.env,
            append=True,
        )
        return answer.result(self.runner, log)

    def versions(self, log: Path) -> Versions:
        """The versions of backend and TensorRT. Raises DeviceError when its Python does not even start."""
        log.unlink(missing_ok=True)
        try:
            answer = self.ask({"ask": "versions"}, log=log, timeout_s=_ASK_TIMEOUT_S, action="versions")
        except ToolError as error:
            raise DeviceError.of(
                f"{self.python} cannot be asked for its packages: {error.diagnostics[0].message}",
                hint=f"name the folder of the vendor's programs with --tools; the whole output is in {log}",
            ) from error
        return Versions(str(self.python), answer.get("backend"), answer.get("tensorrt"))


def find_vendor(plan: FinalizePlan, tools: Path | None, env: Mapping[str, str]) -> Vendor:
    """The vendor's programs in the folder `tools`, else on PATH. Raises DeviceError."""
    name, package = plan.build.command[0], PACKAGES[plan.backend.name]
    path = str(tools) if tools else env.get("PATH", os.defpath)
    script = SCRIPTS.get(name)
    # The vendor's command line is beside its Python, or names it, whatever builds.
    program = shutil.which(_COMMANDS[plan.backend.name] if script else name, path=path)
    if program is None and (script is None or tools is None or not (tools / "python3").exists()):
        raise DeviceError.of(
            f"the engine is built with {package}, and there is no `{_COMMANDS[plan.backend.name] if script else name}` "
            f"in {tools or 'PATH'}",
            hint=f"install {package} {plan.backend.version}, and name the folder of its programs with --tools",
        )
    python = _python_of(None if program is None else Path(program), tools, env)
    passed = {key: env[key] for key in _PASSED if key in env}
    return Vendor(
        program=(str(python), "-I", str(script)) if script else (str(program),),
        python=python,
        runner=RUNNERS[plan.proof.runner],
        env={**for_tool(env, str(python.parent)), **passed},
    )


def stand_in_vendor(script: Path) -> Vendor:
    """The script in place of the vendor's programs. Raises InputError."""
    if not script.is_file():
        raise InputError.of("there is no such stand-in", place=str(script), hint="name a Python script")
    python = Path(sys.executable)
    return Vendor(
        program=(sys.executable, "-I", str(script.absolute())),
        python=python,
        runner=script.absolute(),
        env=for_tool(os.environ, str(python.parent)),
        stand_in=sha256_file(script),
    )


def _python_of(program: Path | None, tools: Path | None, env: Mapping[str, str]) -> Path:
    """The Python beside the program, the one that its first line names, or `python3` on PATH."""
    folder = tools or (program.parent if program else None)
    if folder is not None and (folder / "python3").exists():
        return folder / "python3"
    if program is not None:
        with program.open("rb") as file:
            first = file.readline(512)
        named = Path(first[2:].decode("utf-8", errors="replace").split()[0]) if first.startswith(b"#!/") else Path()
        if named.name.startswith("python"):
            return named
    return Path(shutil.which("python3", path=env.get("PATH", os.defpath)) or "/usr/bin/python3")
