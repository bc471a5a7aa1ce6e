"""Receipts and finalized engines in words.

Rule: what is no engine is called so first; what was not verified stands as plainly as what was.
"""

from __future__ import annotations

from edgec.device.check_receipt import CheckedReceipt
from edgec.device.finalize import Finalized
from edgec.device.receipt import STAND_IN_NOTE, Receipt


def finalized_text(result: Finalized) -> str:
    """What was done, for a person."""
    begin = "finished" if result.done else "nothing to do: stands and is in use"
    return "\n".join(
        [
            f"{begin}: {_title(result.receipt)}",
            *_lines(result.receipt),
            f"  engine   {result.place.engine}",
            f"  receipt  {result.place.receipt}",
        ]
    )


def receipt_text(found: CheckedReceipt) -> str:
    """What a receipt says, for a person."""
    whose = "this device's own key" if found.own else "the key you named"
    compared = f"  {found.engine_files} files of the engine, all as in the receipt"
    return "\n".join(
        [
            f"verified: {_title(found.receipt)}",
            f"  signed with {whose} ({found.signer})",
            *([compared] if found.engine_files is not None else []),
            *_lines(found.receipt),
        ]
    )


def _title(receipt: Receipt) -> str:
    bundle = receipt.bundle
    return f"{bundle.name} {bundle.version}, {receipt.artifact}, on {receipt.device.module.text}"


def _lines(receipt: Receipt) -> list[str]:
    lines = [f"  {STAND_IN_NOTE.upper()}"] if receipt.stand_in else []
    lines.append(f"  {receipt.backend.name} {receipt.backend.version}, TensorRT {receipt.tensorrt or 'unknown'}")
    lines.append(
        f"  bundle   {receipt.bundle.digest or receipt.bundle.manifest_digest}, signed by {receipt.bundle.signer}"
    )
    lines.append(f"  began    {receipt.started}, ended {receipt.finished}")
    lines.append(f"  built with {' '.join(receipt.build.command)}")
    lines.append(f"  built in {receipt.build.wall_s:.1f} s, proven on {receipt.proof.runtime}:")
    lines += [f"    {'pass' if check.passed else 'FAIL'}  {check.as_text()}" for check in receipt.proof.checks]
    lines += [f"  not verified: {missing.what}: {missing.why}" for missing in receipt.proof.not_verified]
    return lines
