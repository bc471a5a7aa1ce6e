"""Writes the files of a bundle to a folder, verified while they are written.

Rule: the folder appears whole and verified, or not at all; nothing that exists is touched.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from edgec.bundle.content import SIGNATURE_PATH
from edgec.bundle.keyfile import PublicKey
from edgec.bundle.keyring import TrustedKey
from edgec.bundle.opened import open_bundle
from edgec.bundle.replace import scratch_folder, sync_tree, write_chunks
from edgec.bundle.verify import Verification, check_documents, verification, verified_files
from edgec.errors import Diagnostic, InputError
from edgec.events import Reporter, silent
from edgec.store.atomic import explain, fsync_folder

_ACTION = "unpack"


def unpack(
    path: Path,
    destination: Path,
    *,
    public_key: PublicKey | None,
    trusted: Sequence[TrustedKey] = (),
    accept_development_key: bool = False,
    report: Reporter = silent,
) -> Verification:
    """Unpacks the bundle at `path` into the new folder `destination`; keys as in `verify_bundle`.

    Raises InputError when `destination` holds something, ProofError when the bundle does not verify, ToolError when the
    disk refuses.
    """
    _check_destination(destination)
    with open_bundle(path) as opened:
        checked = check_documents(opened, public_key, trusted, accept_development_key=accept_development_key)
        try:
            with scratch_folder(destination) as scratch:
                for name, chunks in verified_files(opened, checked.digests, report, _ACTION):
                    write_chunks(scratch / name, chunks)
                write_chunks(scratch / SIGNATURE_PATH, [checked.signature])
                sync_tree(scratch)
                # Renaming onto an empty folder replaces it; onto any other it fails, whoever filled it meanwhile.
                scratch.rename(destination)
                fsync_folder(destination.parent)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise _occupied(destination) from None
            raise explain(error, destination) from error
        return verification(path, opened, checked)


def _check_destination(destination: Path) -> None:
    occupied = destination.is_symlink() or (
        destination.exists() and (not destination.is_dir() or any(destination.iterdir()))
    )
    if occupied:
        raise _occupied(destination)


def _occupied(destination: Path) -> InputError:
    return InputError(
        Diagnostic(
            "something stands there already; it is not replaced",
            place=str(destination),
            hint="name a folder that does not exist or is empty",
        )
    )
