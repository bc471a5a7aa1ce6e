"""Looks at this machine as a build will: Python, tools, memory, disk, keys, hub.

Rule: what can be tried is tried (the runtime is started, the cache is written to), not guessed from versions.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgec.bundle.keyring import find_signing_key, keys_folder
from edgec.errors import EdgecError
from edgec.store.atomic import free_bytes, require_writable
from edgec.store.paths import CACHE_HINT, CONFIG_HINT
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.interpreter import find_interpreter
from edgec.toolchain.inventory import inventory
from edgec.toolchain.process import run_tool

_MIN_FREE_GIB = 2.0
# In a process of its own: a library built for another CPU kills the process that loads it.
_LOAD = "from edgec.formats.gguf.runtime.binding import load; load()"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `required`: a build fails without it."""

    what: str
    found: str
    ok: bool
    required: bool
    hint: str | None = None


def examine(cache: Path, config: Path, env: Mapping[str, str]) -> tuple[Finding, ...]:
    """All findings, the required ones first."""
    return (
        _python(),
        _runtime(env),
        _cache(cache),
        _disk(cache),
        _memory(),
        Finding("cores", str(usable_cores()), True, False),
        _key(config, env),
        _hub(env),
        _toolchains(cache, env),
    )


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", found, sys.version_info >= (3, 11), True, "install Python 3.11 or newer")


def _runtime(env: Mapping[str, str]) -> Finding:
    hint = "reinstall it: python -m pip install --force-reinstall xllamacpp"
    # Not in the cache, which may be what is wrong. The end of the log is in the message.
    try:
        with tempfile.TemporaryDirectory(prefix="edgec-doctor-") as folder:
            run_tool([sys.executable, "-c", _LOAD], log=Path(folder) / "log", timeout_s=60, env=env)
    except EdgecError as error:
        return Finding("llama.cpp", error.diagnostics[0].message, False, True, hint)
    except OSError as error:
        found = f"not tried: no temporary folder can be made: {error.strerror}"
        return Finding("llama.cpp", found, False, True, "set TMPDIR to a folder you may write to")
    found = f"xllamacpp {version('xllamacpp')}, tokenizers {version('tokenizers')}"
    return Finding("llama.cpp", found, True, True)


def _cache(cache: Path) -> Finding:
    try:
        require_writable(cache, hint=CACHE_HINT)
    except EdgecError as error:
        return Finding("cache", f"{cache}: {error.diagnostics[0].message}", False, True, error.diagnostics[0].hint)
    return Finding("cache", str(cache), True, True)


def _disk(cache: Path) -> Finding:
    free_gib = free_bytes(cache) / 2**30
    hint = "`edgec clean` empties the store; EDGEC_CACHE moves it to a larger disk"
    return Finding("disk", f"{free_gib:.1f} GiB free at {cache}", free_gib >= _MIN_FREE_GIB, False, hint)


def _memory() -> Finding:
    total_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    hint = "compiling needs 300 MiB; the proof maps the unquantized model and is slow when it does not fit"
    return Finding("memory", f"{total_gib:.1f} GiB", total_gib >= 4, False, hint)


def _toolchains(cache: Path, env: Mapping[str, str]) -> Finding:
    """Which toolchains are installed, and whether a Python is there for the others."""
    standing = inventory(cache / "toolchains")
    have = ", ".join(s.toolchain.name for s in standing if s.environment is not None)
    lacking = []
    hint = None
    for toolchain in (s.toolchain for s in standing if s.environment is None):
        try:
            find_interpreter(toolchain, env)
        except EdgecError as error:
            lacking.append(f"{toolchain.name} (Python {toolchain.python})")
            hint = error.diagnostics[0].hint
    found = f"installed: {have}" if have else "none installed; a step that needs one installs it"
    without = f"; no Python for {', '.join(lacking)}" if lacking else ""
    return Finding("toolchains", f"{found}{without}", not lacking, False, hint)


def _key(config: Path, env: Mapping[str, str]) -> Finding:
    try:
        key = find_signing_key(config, None, env)
    except EdgecError as error:
        return Finding("signing key", error.diagnostics[0].message, False, True, error.diagnostics[0].hint)
    except PermissionError as error:
        return Finding("signing key", f"{config}: {error.strerror}", False, True, CONFIG_HINT)
    if key is None:
        # A build makes the development key.
        try:
            require_writable(keys_folder(config), hint=CONFIG_HINT)
        except EdgecError as error:
            found = f"none, and none can be made at {keys_folder(config)}: {error.diagnostics[0].message}"
            return Finding("signing key", found, False, True, error.diagnostics[0].hint)
    own = key is not None and not key[1]
    found = "your own" if own else "none; builds are signed with a development key"
    return Finding("signing key", found, own, False, "edgec keys new")


def _hub(env: Mapping[str, str]) -> Finding:
    # The token itself is never shown.
    token = "set" if env.get("HF_TOKEN") else "not set (only gated and private models need it)"
    return Finding("hub", f"HF_TOKEN {token}", True, False)
