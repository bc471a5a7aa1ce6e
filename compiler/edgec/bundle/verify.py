"""Verifies a bundle: who signed it, that it is exactly what they signed, and that what they signed was proven.

Rule: nothing in a bundle is believed before the signature over it was checked with a key a person trusts; every byte
that is not signed is compared with what it has to be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgec.bundle.content import MANIFEST_PATH, SIGNATURE_PATH
from edgec.bundle.keyfile import PublicKey
from edgec.bundle.keyring import TrustedKey
from edgec.bundle.manifest import Manifest, parse_manifest
from edgec.bundle.oci import Layer, config_bytes, image_bytes, ordered_layers
from edgec.bundle.opened import FoundImage, Opened, open_bundle
from edgec.bundle.progress import ByteMeter
from edgec.bundle.signing import signed_files, signer_fingerprint
from edgec.bundle.strict_json import refuse
from edgec.documents.canonical import sha256_bytes
from edgec.events import Reporter, silent

_ACTION = "verify"


@dataclass(frozen=True)
class Signer:
    """The key a bundle was signed with. `trust`: why it was accepted."""

    fingerprint: str
    trust: Literal["given", "own", "trusted"]
    name: str | None = None


@dataclass(frozen=True)
class Verification:
    """A bundle that verified. `digest` is that of its image manifest, None for an unpacked folder."""

    path: Path
    form: str
    digest: str | None
    signer: Signer
    manifest: Manifest
    files: int
    size_bytes: int


def verify_bundle(
    path: Path,
    *,
    public_key: PublicKey | None,
    trusted: Sequence[TrustedKey] = (),
    accept_development_key: bool = False,
    report: Reporter = silent,
) -> Verification:
    """Verifies the bundle at `path`: an OCI layout, its `.tar`, or an unpacked folder.

    With `public_key`, only that key will do; else the key must be among `trusted` (see `keyring.trusted_keys`).
    A bundle signed with a development key is accepted only when that key is this machine's own, or explicitly.
    Raises InputError when there is no bundle at `path`, ProofError for everything that does not verify.
    """
    with open_bundle(path) as opened:
        checked = check_documents(opened, public_key, trusted, accept_development_key=accept_development_key)
        for _, chunks in verified_files(opened, checked.digests, report, _ACTION):
            for _ in chunks:
                pass
        return verification(path, opened, checked)


@dataclass(frozen=True)
class Checked:
    """What the signature says. `digests`: path to `sha256:<hex>` of every file but the `signature` itself."""

    signer: Signer
    manifest: Manifest
    digests: Mapping[str, str]
    signature: bytes


def check_documents(
    opened: Opened, public_key: PublicKey | None, trusted: Sequence[TrustedKey], *, accept_development_key: bool
) -> Checked:
    """Everything but the content of the large files. Raises ProofError."""
    place = f"{opened.place}: {SIGNATURE_PATH}"
    signature = opened.document(SIGNATURE_PATH)
    key, signer = _choose_key(signer_fingerprint(signature, place), public_key, trusted, opened.place)
    digests = signed_files(signature, key, place)
    _check_file_set(opened, digests)
    data = opened.document(MANIFEST_PATH)
    if sha256_bytes(data) != digests[MANIFEST_PATH]:
        raise refuse(f"`{MANIFEST_PATH}` was changed after it was signed", place=opened.place)
    manifest = parse_manifest(data, f"{opened.place}: {MANIFEST_PATH}")
    _check_manifest_files(opened, manifest, digests)
    if opened.image is not None:
        _check_image(opened.image, manifest, digests, signature, opened.place)
    check_claims(manifest, signer, opened.place, accept_development_key=accept_development_key)
    return Checked(signer, manifest, digests, signature)


def check_claims(manifest: Manifest, signer: Signer, place: str, *, accept_development_key: bool) -> None:
    """Refuses a bundle whose own manifest says that it must not be used. Raises ProofError."""
    for proof in manifest.proofs:
        for check in proof.checks:
            if not check.passed:
                limit = f"{check.measured:g} instead of {check.relation} {check.threshold:g}"
                raise refuse(
                    f"the proof of {proof.artifact} failed: {check.name} is {limit}",
                    place=place,
                    hint="build the bundle again; a failed proof must not be shipped",
                )
    _check_proven(manifest, place)
    if manifest.development_key and not accept_development_key and signer.trust != "own":
        raise refuse(
            "the bundle is signed with a development key of another machine, which nobody vouches for",
            place=place,
            hint="ask for a bundle signed with a release key, or accept this one with --accept-development-key",
        )


def _check_proven(manifest: Manifest, place: str) -> None:
    """Every compiled file belongs to an artifact, and every artifact was compared with its source."""
    hint = "build the bundle with `edgec build`, which proves what it packs"
    proven = {proof.artifact for proof in manifest.proofs if proof.checks}
    for artifact in manifest.artifacts:
        if artifact.name not in proven:
            raise refuse(f"nothing was proven about {artifact.name}", place=place, hint=hint)
    owned = {path for artifact in manifest.artifacts for path in artifact.files}
    for file in manifest.files:
        if file.kind == "weight" and file.path not in owned:
            raise refuse(f"`{file.path}` belongs to no proven artifact", place=place, hint=hint)


def verified_chunks(opened: Opened, path: str, digest: str) -> Iterator[bytes]:
    """The content of a file, in pieces. Raises ProofError at its end when it is not what was signed."""
    hasher = hashlib.sha256()
    for chunk in opened.tree.chunks(opened.names[path]):
        hasher.update(chunk)
        yield chunk
    if "sha256:" + hasher.hexdigest() != digest:
        raise refuse(f"`{path}` was changed after it was signed", place=opened.place)


def verified_files(
    opened: Opened, digests: Mapping[str, str], report: Reporter, action: str
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each signed path with its content in pieces, as `verified_chunks`; the pieces must be taken before the next."""
    meter = ByteMeter(report, action, sum(opened.size_bytes(path) for path in digests))
    for path in sorted(digests):
        yield path, meter.over(verified_chunks(opened, path, digests[path]), path)
    meter.finish()


def verification(path: Path, opened: Opened, checked: Checked) -> Verification:
    """The result for a bundle whose files were all hashed."""
    return Verification(
        path=path,
        form=opened.form,
        digest=None if opened.image is None else opened.image.descriptor.digest,
        signer=checked.signer,
        manifest=checked.manifest,
        files=len(opened.names),
        size_bytes=sum(opened.size_bytes(name) for name in opened.names),
    )


def _choose_key(
    fingerprint: str, public_key: PublicKey | None, trusted: Sequence[TrustedKey], place: str
) -> tuple[PublicKey, Signer]:
    own = next((t for t in trusted if t.own and t.key.fingerprint == fingerprint), None)
    if public_key is not None:
        if public_key.fingerprint != fingerprint:
            raise refuse(
                f"signed with the key {fingerprint}, not with {public_key.fingerprint}",
                place=place,
                hint="verify with the publisher's public key; if this should be it, the bundle is not theirs",
            )
        return public_key, Signer(fingerprint, "own" if own else "given", own.name if own else None)
    match = own or next((t for t in trusted if t.key.fingerprint == fingerprint), None)
    if match is None:
        raise refuse(
            f"signed with the unknown key {fingerprint}",
            place=place,
            hint="name the publisher's public key with --key, or trust it with `edgec keys trust`",
        )
    return match.key, Signer(fingerprint, "own" if match.own else "trusted", match.name)


def _check_file_set(opened: Opened, digests: Mapping[str, str]) -> None:
    found = opened.names.keys() - {SIGNATURE_PATH}
    if extra := found - digests.keys():
        raise refuse(f"{min(extra)!r} is not signed", place=opened.place)
    if missing := digests.keys() - found:
        raise refuse(f"{min(missing)!r} is signed but missing", place=opened.place)
    if MANIFEST_PATH not in digests:
        raise refuse(f"`{MANIFEST_PATH}` is missing", place=opened.place)


def _check_manifest_files(opened: Opened, manifest: Manifest, digests: Mapping[str, str]) -> None:
    listed = {f.path: f.digest for f in manifest.files}
    if len(listed) != len(manifest.files) or listed != {p: d for p, d in digests.items() if p != MANIFEST_PATH}:
        raise refuse(f"`{MANIFEST_PATH}` does not list the files that are signed", place=opened.place)
    for file in manifest.files:
        if opened.size_bytes(file.path) != file.size_bytes:
            message = f"`{file.path}` has {opened.size_bytes(file.path)} bytes instead of {file.size_bytes}"
            raise refuse(message, place=opened.place)


def _check_image(
    found: FoundImage, manifest: Manifest, digests: Mapping[str, str], signature: bytes, place: str
) -> None:
    """The layers are the signed files, and config and image manifest are what follows from them, to the byte."""
    expected = {**digests, SIGNATURE_PATH: sha256_bytes(signature)}
    if {layer.path: layer.blob.digest for layer in found.image.layers} != expected:
        raise refuse("the layers are not the files that are signed", place=place)
    kinds = {f.path: f.kind for f in manifest.files}
    layers = ordered_layers(Layer(x.path, kinds.get(x.path, "doc"), x.blob) for x in found.image.layers)
    if found.config != config_bytes(manifest, layers) or found.data != image_bytes(manifest, layers):
        raise refuse("the image manifest or its config does not follow from what is signed", place=place)
