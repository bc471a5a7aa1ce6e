"""The pins of a lock file: requirements with `==`, each on one line or continued, with their hashes cut off."""

from __future__ import annotations

import re

from edgec.toolchain.definition import Toolchain


def pins(toolchain: Toolchain) -> list[str]:
    """`name==version`, with ` ; marker` where the pin has one, torch and what belongs to it first."""
    text = toolchain.lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [re.split(r"\s+--hash=", line)[0].strip() for line in text.splitlines()]
    own = [line for line in lines if line and not line.startswith("#")]
    return own if toolchain.torch is None else [f"torch=={toolchain.torch}", *toolchain.beside_torch, *own]
