"""The device's own key, which signs its receipts: made on first use, never given away.

Rule: it is not among the keys that sign or accept bundles, and nobody else may read it. Its public half is written
again where it is missing, and another one in its place is refused: it would be given to those who verify.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

from edgec.bundle.keyfile import SigningKey, load_public_key, load_signing_key, new_key, public_path
from edgec.errors import DeviceError, InputError
from edgec.events import Note, Reporter, silent
from edgec.store.atomic import write_file

_NAME = "device.key"


def key_path(config: Path) -> Path:
    """Where the device's private key stands; its public half is beside it."""
    return config / "device" / _NAME


def device_key(config: Path, *, report: Reporter = silent) -> SigningKey:
    """The device's key, made if there is none. Raises DeviceError if others can read it, InputError when damaged."""
    path = key_path(config)
    if not path.exists():
        if public_path(path).exists():
            raise DeviceError.of(
                "the public half of this device's key is there, and the private half is not",
                place=str(path),
                hint=f"put the private half back; if it is lost, remove {public_path(path)}, and a new key is made",
            )
        key = new_key(path)
        report(Note(f"made this device's key: {public_path(path)} is its public half, {key.public.fingerprint}"))
        return key
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DeviceError.of(
            "others can read this device's key, so that it proves nothing",
            place=str(path),
            hint=f"run `chmod 600 {path}`; if others had access to it, remove both halves, and a new one is made",
        )
    try:
        key = load_signing_key(path)
    except InputError as error:
        hint = f"put the right file back; if it is lost, remove it and {public_path(path)}, and a new key is made"
        raise InputError(*(replace(d, hint=hint) for d in error.diagnostics)) from error
    _keep_public_half(key, public_path(path))
    return key


def _keep_public_half(key: SigningKey, public: Path) -> None:
    if not public.exists():
        write_file(public, key.public.pem)
    elif load_public_key(public).fingerprint != key.public.fingerprint:
        raise DeviceError.of(
            "this is not the public half of this device's key",
            place=str(public),
            hint="remove it, and it is written again",
        )
