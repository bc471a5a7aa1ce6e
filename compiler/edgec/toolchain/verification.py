"""Verifies an environment before it gets its name: each pin is there in its version, the modules import, pip agrees."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgec.errors import ToolError
from edgec.toolchain.definition import Toolchain
from edgec.toolchain.dialogue import run_script
from edgec.toolchain.lockfile import pins
from edgec.toolchain.surroundings import for_tool
from edgec.toolchain.user_wheel import UserWheel

_VERIFY = Path(__file__).parent / "inside" / "verify.py"
_TIMEOUT_S = 600.0


def verified_versions(toolchain: Toolchain, python: Path, log: Path, own: UserWheel | None = None) -> dict[str, str]:
    """Distribution -> version of the environment of `python`, with the user's `own` wheel, if it needs one.

    Raises ToolError when it is not what the lock says.
    """
    lines: list[str] = []
    request = {"pins": pins(toolchain), "smoke": list(toolchain.smoke), "overrides": list(toolchain.overrides)}
    if own is not None and toolchain.user_wheel is not None:
        request["pins"].append(f"{own.distribution}=={own.version}")
        request["smoke"] += toolchain.user_wheel.smoke
    env = for_tool(os.environ, str(python.parent))
    run_script(
        python, _VERIFY, request, on_line=lines.append, log=log, timeout_s=_TIMEOUT_S, env=env, append=True
    )  # fmt: skip
    answers = [found["result"] for line in lines if "result" in (found := json.loads(line))]
    if not answers:
        raise ToolError.of(
            f"the toolchain `{toolchain.name}` could not be verified", hint=f"the whole output is in {log}"
        )
    if problems := answers[0]["problems"]:
        raise ToolError.of(
            f"the toolchain `{toolchain.name}` is not what its lock says: {'; '.join(problems)}",
            hint=f"install it again; the whole output is in {log}",
        )
    versions: dict[str, str] = answers[0]["versions"]
    return versions
