"""Writes a bundle: places the files, derives the documents, signs, and puts the folder in place in one step.

Rule: everything signed was hashed here, whatever was recorded before; the same content and key give the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.archive import write_archive
from edgec.bundle.content import (
    MANIFEST_PATH,
    PROVENANCE_PATH,
    SBOM_PATH,
    SIGNATURE_PATH,
    BundleContent,
    BundleFile,
    BundleInfo,
)
from edgec.bundle.keyfile import SigningKey
from edgec.bundle.manifest import FileEntry, Manifest, make_manifest
from edgec.bundle.oci import (
    INDEX_NAME,
    LAYOUT_BYTES,
    LAYOUT_NAME,
    Descriptor,
    Layer,
    config_bytes,
    image_bytes,
    index_bytes,
    ordered_layers,
)
from edgec.bundle.paths import path_fault, set_fault
from edgec.bundle.place import place_file, write_file
from edgec.bundle.progress import ByteMeter
from edgec.bundle.provenance import provenance_bytes, run_attestation_bytes
from edgec.bundle.replace import move_in, scratch_folder
from edgec.bundle.sbom import sbom_bytes
from edgec.bundle.signing import sign_files, sign_payload
from edgec.documents.canonical import read_chunks, sha256_bytes
from edgec.errors import Diagnostic, InputError, ToolError
from edgec.events import Reporter
from edgec.store import atomic

_ACTION = "bundle"
_LAYOUT_NAMES = frozenset({LAYOUT_NAME, INDEX_NAME, "blobs"})


class FileChangedError(ToolError):
    """`file`, which was to be packed, is not the one that was built."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            Diagnostic(
                "the file is not the one that was built: its size or digest differs from what was recorded",
                place=str(file),
                hint="delete it and build again; if it happens twice, check the disk",
            )
        )
        self.file = file


@dataclass(frozen=True)
class _Written:
    """A layout that stands in the scratch folder."""

    image_digest: str
    size_bytes: int


def write_bundle(
    content: BundleContent,
    destination: Path,
    *,
    key: SigningKey,
    report: Reporter,
    archive: Path | None = None,
    run_facts: Mapping[str, str] | None = None,
) -> BundleInfo:
    """Writes the bundle of `content` to the folder `destination`, replacing a bundle that stands there.

    `archive`: also write the layout as one tar file. `run_facts` (times, host) go, signed, into
    `<destination>.attestation.json` beside the bundle, because inside they would change its digest.
    Raises InputError for names that cannot be in a bundle or a destination that holds something else, FileChangedError
    when a file is not what was recorded, ToolError when the disk refuses.
    """
    _check_content(content)
    try:
        _check_destination(destination)
        with scratch_folder(destination) as scratch:
            written = _write_layout(content, scratch, key, report)
            if archive is not None:
                # From here, not from the destination: another writer may replace that one at any moment.
                write_archive(scratch, archive)
            move_in(scratch, destination)
        attestation = _write_attestation(content, destination, written.image_digest, key, run_facts)
    except OSError as error:
        raise atomic.explain(error, destination) from error
    return BundleInfo(
        path=destination,
        digest=written.image_digest,
        size_bytes=written.size_bytes,
        key_fingerprint=key.public.fingerprint,
        archive=archive,
        attestation=attestation,
    )


def _write_layout(content: BundleContent, root: Path, key: SigningKey, report: Reporter) -> _Written:
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = _place_files(content.files, blobs, report)
    generated = [
        _add_document(blobs, PROVENANCE_PATH, provenance_bytes(content)),
        _add_document(blobs, SBOM_PATH, sbom_bytes(content)),
    ]
    entries = (
        FileEntry(path=x.path, kind=x.kind, digest=x.blob.digest, size_bytes=x.blob.size_bytes) for x in generated
    )
    manifest = make_manifest(content, entries)
    layers += [*generated, _add_document(blobs, MANIFEST_PATH, manifest.to_bytes())]
    layers.append(_add_document(blobs, SIGNATURE_PATH, _sign(manifest, layers, key)))
    return _write_image(root, manifest, ordered_layers(layers))


def _place_files(files: tuple[BundleFile, ...], blobs: Path, report: Reporter) -> list[Layer]:
    meter = ByteMeter(report, _ACTION, sum(f.size_bytes for f in files))
    layers = []
    for file in sorted(files, key=lambda f: f.path_in_bundle):
        blob = Descriptor(file.digest, file.size_bytes)
        path = blobs / file.digest.removeprefix("sha256:")
        if not path.exists():
            place_file(file.source, path)
            # Read back what was placed: a signature must never vouch for a digest that was only remembered.
            hasher = hashlib.sha256()
            for chunk in meter.over(read_chunks(path), file.path_in_bundle):
                hasher.update(chunk)
            if path.stat().st_size != file.size_bytes or "sha256:" + hasher.hexdigest() != file.digest:
                raise FileChangedError(file.source)
        layers.append(Layer(file.path_in_bundle, file.kind, blob))
    meter.finish()
    return layers


def _add_document(blobs: Path, path: str, data: bytes) -> Layer:
    return Layer(path, "doc", _add_blob(blobs, data))


def _add_blob(blobs: Path, data: bytes) -> Descriptor:
    blob = Descriptor(sha256_bytes(data), len(data))
    path = blobs / blob.digest.removeprefix("sha256:")
    if not path.exists():
        write_file(path, data)
    return blob


def _sign(manifest: Manifest, layers: list[Layer], key: SigningKey) -> bytes:
    name = f"{manifest.name}-{manifest.version}"
    return sign_files(name, {layer.path: layer.blob.digest for layer in layers}, key)


def _write_image(root: Path, manifest: Manifest, layers: tuple[Layer, ...]) -> _Written:
    blobs = root / "blobs" / "sha256"
    config = _add_blob(blobs, config_bytes(manifest, layers))
    image = _add_blob(blobs, image_bytes(manifest, layers))
    write_file(root / LAYOUT_NAME, LAYOUT_BYTES)
    write_file(root / INDEX_NAME, index_bytes(image))
    distinct = {layer.blob for layer in layers} | {config, image}
    return _Written(image.digest, sum(blob.size_bytes for blob in distinct))


def _write_attestation(
    content: BundleContent, destination: Path, digest: str, key: SigningKey, facts: Mapping[str, str] | None
) -> Path | None:
    if facts is None:
        return None
    path = destination.with_name(destination.name + ".attestation.json")
    statement = run_attestation_bytes(destination.name, digest, content.recipe, facts)
    atomic.write_file(path, sign_payload(statement, key))
    return path


def _check_content(content: BundleContent) -> None:
    paths = [f.path_in_bundle for f in content.files]
    faults = [(p, fault) for p in paths if (fault := path_fault(p))]
    if faults:
        raise InputError(*(Diagnostic(fault, place=p, hint="give the file another name") for p, fault in faults))
    reserved = [MANIFEST_PATH, PROVENANCE_PATH, SBOM_PATH, SIGNATURE_PATH]
    if fault := set_fault([*reserved, *paths]):
        raise InputError(Diagnostic(fault, place=content.name, hint="give one of the files another name"))


def _check_destination(destination: Path) -> None:
    if not destination.exists() and not destination.is_symlink():
        return
    is_folder = destination.is_dir() and not destination.is_symlink()
    if is_folder and _is_replaceable(destination):
        return
    raise InputError(
        Diagnostic(
            "something that is not a bundle stands there; it is not replaced",
            place=str(destination),
            hint="choose another output folder, or move it away",
        )
    )


def _is_replaceable(folder: Path) -> bool:
    """Whether nothing is lost with `folder` but a bundle, and empty folders that were added to it."""
    names = {p.name for p in folder.iterdir()}
    extra = [folder / name for name in names - _LAYOUT_NAMES]
    empty = all(p.is_dir() and not p.is_symlink() and not any(p.iterdir()) for p in extra)
    return not extra or (LAYOUT_NAME in names and empty)
