"""Which key signs and which keys are trusted on this machine: `keys/` and `trusted/` in edgec's configuration folder.

Rule: a key counts as trusted only because a person put it there; a development key is never mistaken for such a one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.keyfile import (
    PASSWORD_VARIABLE,
    PublicKey,
    SigningKey,
    load_public_key,
    load_signing_key,
    new_key,
    public_path,
)
from edgec.errors import Diagnostic, InputError
from edgec.events import Note, Reporter, silent
from edgec.store.atomic import write_new

KEY_VARIABLE = "EDGEC_SIGNING_KEY"
DEVELOPMENT_NAME = "development"


@dataclass(frozen=True)
class TrustedKey:
    """A public key this machine accepts. `own`: its private half is here too."""

    name: str
    key: PublicKey
    path: Path
    own: bool

    @property
    def development(self) -> bool:
        """Whether it is the key made without anyone asking for it."""
        return self.own and self.name == DEVELOPMENT_NAME


def keys_folder(config_home: Path) -> Path:
    """Where this machine's own keys stand."""
    return config_home / "keys"


def trusted_folder(config_home: Path) -> Path:
    """Where the public keys of others stand that a person trusts."""
    return config_home / "trusted"


def find_signing_key(
    config_home: Path, explicit: Path | None, env: Mapping[str, str], *, report: Reporter = silent
) -> tuple[SigningKey, bool] | None:
    """The key to sign with, and whether it is only a development key; None when there is no key at all.

    The recipe's (`explicit`), else `$EDGEC_SIGNING_KEY`, else `keys/signing.key`, else `keys/development.key`.
    `config_home` is edgec's own folder (`edgec.store.paths.config_home`).
    """
    password = env[PASSWORD_VARIABLE].encode() if env.get(PASSWORD_VARIABLE) else None
    named = explicit or (Path(env[KEY_VARIABLE]) if env.get(KEY_VARIABLE) else None)
    folder = keys_folder(config_home)
    development = folder / f"{DEVELOPMENT_NAME}.key"
    if named is not None:
        key = load_signing_key(named, password=password, report=report)
        # Naming the development key does not make it a trusted one.
        return key, _is_key_at(key, public_path(development))
    signing = folder / "signing.key"
    if signing.exists():
        return load_signing_key(signing, password=password, report=report), False
    if development.exists():
        return load_signing_key(development, password=password, report=report), True
    return None


def default_signing_key(
    config_home: Path, explicit: Path | None, env: Mapping[str, str], *, report: Reporter = silent
) -> tuple[SigningKey, bool]:
    """As `find_signing_key`; makes `keys/development.key` when there is no key."""
    found = find_signing_key(config_home, explicit, env, report=report)
    if found is None:
        _make_development_key(keys_folder(config_home) / f"{DEVELOPMENT_NAME}.key", report)
        found = find_signing_key(config_home, explicit, env, report=report)
    if found is None:
        raise ValueError("the development key was made and is not there")
    return found


def trusted_keys(config_home: Path) -> tuple[TrustedKey, ...]:
    """The keys accepted here: own ones first, then those in `trusted/`. Raises InputError for a broken file."""
    found: list[TrustedKey] = []
    for folder, own in ((keys_folder(config_home), True), (trusted_folder(config_home), False)):
        if folder.is_dir():
            found += [TrustedKey(p.stem, load_public_key(p), p, own) for p in sorted(folder.glob("*.pub"))]
    return tuple(found)


def trust(config_home: Path, public: Path) -> TrustedKey:
    """Copies the public key in `public` to `trusted/`. Trusting the same key twice changes nothing.

    Raises InputError when another key is trusted under that name.
    """
    key = load_public_key(public)
    folder = trusted_folder(config_home)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{public.stem}.pub"
    try:
        write_new(path, key.pem, 0o644)
    except FileExistsError:
        if load_public_key(path).fingerprint != key.fingerprint:
            raise InputError(
                Diagnostic(
                    "another key is trusted under this name",
                    place=str(path),
                    hint="rename the new file, or remove the old key if it is no longer trusted",
                )
            ) from None
    return TrustedKey(path.stem, key, path, own=False)


def _make_development_key(path: Path, report: Reporter) -> None:
    try:
        new_key(path)
    except InputError:
        # Another build made it at the same moment; only a key that is really there will do.
        if not path.exists():
            raise
        return
    report(Note(f"no signing key: made a development key at {path}; make a real one with `edgec keys new`", "warning"))


def _is_key_at(key: SigningKey, public: Path) -> bool:
    return public.exists() and load_public_key(public).fingerprint == key.public.fingerprint
