"""Shows what is in a bundle without judging it.

Rule: it reads only the small documents, believes nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.content import MANIFEST_PATH, SIGNATURE_PATH
from edgec.bundle.keyring import TrustedKey
from edgec.bundle.manifest import Manifest, parse_manifest
from edgec.bundle.opened import open_bundle
from edgec.bundle.signing import signer_fingerprint


@dataclass(frozen=True)
class Inspection:
    """What a bundle says of itself. `signer` claims to have signed it; `known_as` is that key's name here, if any."""

    path: Path
    form: str
    digest: str | None
    signer: str | None
    known_as: str | None
    manifest: Manifest
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The same as a JSON object, with the whole manifest."""
        return {
            "path": str(self.path),
            "form": self.form,
            "digest": self.digest,
            "signer": self.signer,
            "known_as": self.known_as,
            "verified": False,
            "size_bytes": self.size_bytes,
            "manifest": self.manifest.model_dump(mode="json", by_alias=True),
        }


def inspect_bundle(path: Path, *, trusted: Sequence[TrustedKey] = ()) -> Inspection:
    """What the bundle at `path` says of itself. Raises InputError when there is none, ProofError when unreadable."""
    with open_bundle(path) as opened:
        manifest = parse_manifest(opened.document(MANIFEST_PATH), f"{opened.place}: {MANIFEST_PATH}")
        signer = None
        if SIGNATURE_PATH in opened.names:
            signer = signer_fingerprint(opened.document(SIGNATURE_PATH), f"{opened.place}: {SIGNATURE_PATH}")
        return Inspection(
            path=path,
            form=opened.form,
            digest=None if opened.image is None else opened.image.descriptor.digest,
            signer=signer,
            known_as=next((t.name for t in trusted if t.key.fingerprint == signer), None),
            manifest=manifest,
            size_bytes=sum(opened.size_bytes(name) for name in opened.names),
        )
