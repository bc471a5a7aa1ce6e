"""Isolated, locked environments of external tools: find a toolchain, install it, run scripts in it."""

from __future__ import annotations

from edgec.toolchain.definition import Toolchain, all_toolchains, find_toolchain
from edgec.toolchain.environment import Environment, in_use, installed
from edgec.toolchain.install import install, remove
from edgec.toolchain.run import run_json

__all__ = [
    "Environment",
    "Toolchain",
    "all_toolchains",
    "find_toolchain",
    "in_use",
    "install",
    "installed",
    "remove",
    "run_json",
]
