"""Writes the files of a bundle that an engine is built from, while the whole bundle is verified.

Rule: the folder appears whole and verified, or not at all; the rest of the bundle is compared and not written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from edgec.bundle.finalize_plan import FinalizePlan, plan_path
from edgec.bundle.opened import Opened
from edgec.bundle.replace import scratch_folder, sync_tree, write_chunks
from edgec.bundle.verify import Checked, verified_files
from edgec.documents.canonical import sha256_file
from edgec.errors import InputError
from edgec.events import Reporter
from edgec.store.atomic import explained

ACTION = "unpack"


def needed_files(plan: FinalizePlan, checked: Checked) -> dict[str, str]:
    """Path -> digest of what is needed: the model's folder, the plan, the reference. Raises InputError."""
    alone = {plan_path(plan.artifact), plan.proof.reference}
    needed = {p: d for p, d in checked.digests.items() if p in alone or p.startswith(f"{plan.model}/")}
    hint = "the bundle is incomplete: build it again"
    if plan.proof.reference not in needed:
        raise InputError.of(f"the recorded reference `{plan.proof.reference}` is missing", hint=hint)
    if len(needed) == len(alone):
        raise InputError.of(f"the model's folder `{plan.model}` is empty", hint=hint)
    return needed


def size_mib(opened: Opened, needed: Mapping[str, str]) -> int:
    """The size of the files together, rounded up."""
    return -(-sum(opened.size_bytes(path) for path in needed) >> 20)


def unpack_needed(
    opened: Opened, checked: Checked, needed: Mapping[str, str], destination: Path, report: Reporter
) -> None:
    """Writes the files to `destination`, replacing what stands there. Raises ProofError, ToolError."""
    with explained(destination):
        if destination.exists():
            shutil.rmtree(destination)
        with scratch_folder(destination) as scratch:
            for path, chunks in verified_files(opened, checked.digests, report, ACTION):
                if path in needed:
                    write_chunks(scratch / path, chunks)
                else:
                    for _ in chunks:
                        pass
            sync_tree(scratch)
            scratch.rename(destination)


def still_unpacked(destination: Path, needed: Mapping[str, str]) -> bool:
    """Whether `destination` holds exactly these files, to the byte."""
    try:
        found = {p.relative_to(destination).as_posix(): p for p in destination.rglob("*") if not p.is_dir()}
        plain = all(not path.is_symlink() for path in found.values())
        return plain and {name: sha256_file(path) for name, path in found.items()} == dict(needed)
    except OSError:
        return False
