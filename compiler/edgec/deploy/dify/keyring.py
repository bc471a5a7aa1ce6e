"""Which key signs Dify packages on this machine: `dify/` in edgec's configuration folder.

Rule: a development key is never mistaken for one that a person made on purpose; planning makes no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgec.deploy.dify.keys import (
    DifyPublicKey,
    DifySigningKey,
    load_dify_key,
    load_dify_public_key,
    new_dify_key,
    public_path,
)
from edgec.errors import InputError
from edgec.events import Note, Reporter, silent

KEY_VARIABLE = "EDGEC_DIFY_KEY"
_SIGNING = "signing.private.pem"
_DEVELOPMENT = "development.private.pem"


def dify_keys_folder(config_home: Path) -> Path:
    """Where this machine's own Dify keys stand."""
    return config_home / "dify"


def signing_path(config_home: Path) -> Path:
    """The user's key, with which builds sign unless the recipe or the environment names another."""
    return dify_keys_folder(config_home) / _SIGNING


def find_dify_key(
    config_home: Path, explicit: Path | None, env: Mapping[str, str], *, report: Reporter = silent
) -> tuple[DifySigningKey, bool] | None:
    """The key to sign with, and whether it is only a development key; None when there is no key at all.

    The recipe's (`explicit`), else `$EDGEC_DIFY_KEY`, else the user's, else the development key.
    """
    named = explicit or (Path(env[KEY_VARIABLE]) if env.get(KEY_VARIABLE) else None)
    if named is not None:
        key = load_dify_key(named, report=report)
        # Naming the development key does not make it one that others were told to trust.
        return key, is_own(config_home, key.public, development=True)
    development = dify_keys_folder(config_home) / _DEVELOPMENT
    for path in (signing_path(config_home), development):
        if path.exists():
            return load_dify_key(path, report=report), path == development
    return None


def default_dify_key(
    config_home: Path, explicit: Path | None, env: Mapping[str, str], *, report: Reporter = silent
) -> tuple[DifySigningKey, bool]:
    """As `find_dify_key`; makes the development key when there is no key."""
    found = find_dify_key(config_home, explicit, env, report=report)
    if found is None:
        _make_development_key(dify_keys_folder(config_home) / _DEVELOPMENT, report)
        found = find_dify_key(config_home, explicit, env, report=report)
    if found is None:
        raise ValueError("the development key was made and is not there")
    return found


def own_public_keys(config_home: Path) -> tuple[DifyPublicKey, ...]:
    """The public halves of this machine's keys."""
    folder = dify_keys_folder(config_home)
    return tuple(load_dify_public_key(path) for path in sorted(folder.glob("*.public.pem")))


def is_own(config_home: Path, key: DifyPublicKey, *, development: bool) -> bool:
    """Whether `key` is this machine's development key, or else the one that its user made."""
    private = dify_keys_folder(config_home) / (_DEVELOPMENT if development else _SIGNING)
    public = public_path(private)
    return public.exists() and load_dify_public_key(public).fingerprint == key.fingerprint


def _make_development_key(path: Path, report: Reporter) -> None:
    try:
        new_dify_key(path)
    except InputError:
        # Another build made it at the same moment; only a key that is really there will do.
        if not path.exists():
            raise
        return
    report(Note(f"no key for Dify: made a development key at {path}; make a real one with `edgec dify keygen`"))
