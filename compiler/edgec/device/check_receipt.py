"""Verifies a receipt, and on demand the engine it is about.

Rule: the key is one that a person named, or this device's own; a stand-in's receipt is refused unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.keyfile import PublicKey, load_public_key, public_path
from edgec.bundle.strict_json import refuse
from edgec.device.device_key import key_path
from edgec.device.places import file_digests
from edgec.device.receipt import STAND_IN_NOTE, Receipt, read_receipt_file, receipt_signer, verify_receipt
from edgec.errors import InputError


@dataclass(frozen=True)
class CheckedReceipt:
    """A receipt that verified. `own`: this device signed it; `engine_files`: how many files were compared, or None."""

    receipt: Receipt
    signer: str
    own: bool
    engine_files: int | None


def check_receipt(
    path: Path, *, config: Path, public_key: PublicKey | None, engine: Path | None, accept_stand_in: bool
) -> CheckedReceipt:
    """The receipt at `path`. Raises InputError (no such file), ProofError (anything that does not verify)."""
    data, place = read_receipt_file(path), str(path)
    signer = receipt_signer(data, place)
    own = _own_key(config)
    chosen = public_key or own
    if chosen is None or chosen.fingerprint != signer:
        asked = f", not with {chosen.fingerprint}" if chosen else ""
        raise refuse(
            f"signed with the key {signer}{asked}",
            place=place,
            hint="name the public key of the device that built the engine with --key (`edgec device key` shows it)",
        )
    receipt = verify_receipt(data, chosen, place)
    if receipt.stand_in is not None and not accept_stand_in:
        hint = "finalize the bundle on a device with the vendor's programs; for tests: --accept-stand-in"
        raise refuse(STAND_IN_NOTE, place=place, hint=hint)
    is_own = own is not None and own.fingerprint == signer
    return CheckedReceipt(receipt, signer, is_own, None if engine is None else _compare(receipt, engine))


def _own_key(config: Path) -> PublicKey | None:
    path = public_path(key_path(config))
    return load_public_key(path) if path.exists() else None


def _compare(receipt: Receipt, engine: Path) -> int:
    if not engine.is_dir():
        raise InputError.of("there is no such engine", place=str(engine), hint="name the folder `engine`")
    found = file_digests(engine)
    expected = {name: file.model_dump() for name, file in receipt.engine.items()}
    hint = "the engine was changed after it was proven: finalize the bundle again"
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            raise refuse(f"`{name}` is missing", place=str(engine), hint=hint)
        if name not in expected:
            raise refuse(f"`{name}` does not belong to the engine", place=str(engine), hint=hint)
        if found[name] != expected[name]:
            raise refuse(f"`{name}` was changed after the engine was proven", place=str(engine), hint=hint)
    return len(expected)
