"""The device's own key, which signs its receipts: made on first use, never given away.

Rule: it is not among the keys that sign or accept bundles, and nobody else may read it.
"""

from __future__ import annotations

import stat
from pathlib import Path

from edgec.bundle.keyfile import SigningKey, load_signing_key, new_key, public_path
from edgec.errors import DeviceError
from edgec.events import Note, Reporter, silent

_NAME = "device.key"


def key_path(config: Path) -> Path:
    """Where the device's private key stands; its public half is beside it."""
    return config / "device" / _NAME


def device_key(config: Path, *, report: Reporter = silent) -> SigningKey:
    """The device's key, made if there is none. Raises DeviceError if others can read it, InputError when damaged."""
    path = key_path(config)
    if not path.exists():
        key = new_key(path)
        report(Note(f"made this device's key: {public_path(path)} is its public half, {key.public.fingerprint}"))
        return key
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DeviceError.of(
            "others can read this device's key, so that it proves nothing",
            place=str(path),
            hint=f"run `chmod 600 {path}`; if others had access to it, remove both halves, and a new one is made",
        )
    return load_signing_key(path)
