"""Where edgec keeps things: the cache (store, digests, logs, toolchains) and the configuration (keys)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CACHE_HINT = "set EDGEC_CACHE to a folder you may write to"
STATE_HINT = "set XDG_STATE_HOME to a folder you may write to: engines and their logs stand there"
CONFIG_HINT = "set XDG_CONFIG_HOME to a folder you may write to: the signing key is made there"


def cache_home(env: Mapping[str, str] | None = None) -> Path:
    """`$EDGEC_CACHE`, else `$XDG_CACHE_HOME/edgec`, else `~/.cache/edgec`."""
    values = os.environ if env is None else env
    if own := values.get("EDGEC_CACHE"):
        return Path(own)
    return _xdg(values, "XDG_CACHE_HOME", ".cache")


def config_home(env: Mapping[str, str] | None = None) -> Path:
    """`$XDG_CONFIG_HOME/edgec`, else `~/.config/edgec`."""
    return _xdg(os.environ if env is None else env, "XDG_CONFIG_HOME", ".config")


def state_home(env: Mapping[str, str] | None = None) -> Path:
    """`$XDG_STATE_HOME/edgec`, else `~/.local/state/edgec`: what a device must not lose, its engines and their logs."""
    return _xdg(os.environ if env is None else env, "XDG_STATE_HOME", ".local/state")


def _xdg(values: Mapping[str, str], name: str, fallback: str) -> Path:
    base = values.get(name)
    # The XDG specification demands that relative paths are ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / fallback
    return root / "edgec"
