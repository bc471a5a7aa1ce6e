"""A bundle as found: an OCI layout in a folder or an archive, or the files themselves in a folder.

Rule: opening checks the form (exact blobs, sizes, names, bounds) and vouches for nothing else; `verify` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgec.bundle.content import MANIFEST_PATH, SIGNATURE_PATH
from edgec.bundle.oci import (
    INDEX_NAME,
    LAYOUT_NAME,
    Descriptor,
    Image,
    parse_image,
    parse_index,
    parse_layout,
)
from edgec.bundle.paths import path_fault, set_fault
from edgec.bundle.strict_json import refuse
from edgec.bundle.tree import FolderTree, TarTree, Tree, read_document
from edgec.errors import Diagnostic, InputError

Form = Literal["layout", "archive", "folder"]


@dataclass(frozen=True)
class FoundImage:
    """The image manifest of a layout: its descriptor, its bytes, those of its config, and the blobs it names."""

    descriptor: Descriptor
    data: bytes
    config: bytes
    image: Image


@dataclass(frozen=True)
class Opened:
    """`names`: path in the bundle to name in `tree`. `image` is None for an unpacked folder, which has none."""

    tree: Tree
    form: Form
    names: Mapping[str, str]
    image: FoundImage | None

    @property
    def place(self) -> str:
        """What to call the bundle in messages."""
        return self.tree.place

    def document(self, path: str) -> bytes:
        """A small file of the bundle. Raises ProofError when it is missing or too large."""
        if path not in self.names:
            hint = "only bundles that edgec wrote, complete and signed, can be verified"
            raise refuse(f"`{path}` is missing", place=self.place, hint=hint)
        return read_document(self.tree, self.names[path])

    def size_bytes(self, path: str) -> int:
        """Size of a file of the bundle."""
        return self.tree.sizes[self.names[path]]


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Opened]:
    """The bundle at `path`. Raises InputError when there is none, ProofError when its form is wrong."""
    if path.is_dir():
        yield _open_folder(path)
        return
    if not path.is_file():
        raise _no_bundle(path, "there is no such bundle")
    try:
        archive = TarTree(path)
    except OSError as error:
        raise _no_bundle(path, f"the archive cannot be read: {error.strerror}") from None
    with contextlib.closing(archive):
        yield _open_layout(archive, "archive")


def _open_folder(path: Path) -> Opened:
    if _holds(path, LAYOUT_NAME, INDEX_NAME):
        return _open_layout(FolderTree(path), "layout")
    if _holds(path, MANIFEST_PATH, SIGNATURE_PATH):
        tree = FolderTree(path)
        return Opened(tree, "folder", {name: name for name in tree.sizes}, None)
    raise _no_bundle(path, "the folder holds no bundle")


def _holds(folder: Path, *names: str) -> bool:
    # Asked before the folder is read through: it may be anything, a home or a disk.
    return any((folder / name).exists() or (folder / name).is_symlink() for name in names)


def _open_layout(tree: Tree, form: Form) -> Opened:
    parse_layout(read_document(tree, LAYOUT_NAME))
    descriptor = parse_index(read_document(tree, INDEX_NAME))
    data = _blob(tree, descriptor)
    image = parse_image(data, f"{tree.place}/{descriptor.blob_name}")
    config = _blob(tree, image.config)
    _check_layers(tree, image)
    _check_blobs(tree, descriptor, image)
    names = {layer.path: layer.blob.blob_name for layer in image.layers}
    return Opened(tree, form, names, FoundImage(descriptor, data, config, image))


def _blob(tree: Tree, blob: Descriptor) -> bytes:
    _check_size(tree, blob)
    return read_document(tree, blob.blob_name, blob.digest)


def _check_layers(tree: Tree, image: Image) -> None:
    paths = [layer.path for layer in image.layers]
    for path in paths:
        if fault := path_fault(path):
            raise refuse(f"a layer is named {path!r}: {fault}", place=tree.place)
    if fault := set_fault(paths):
        raise refuse(fault, place=tree.place)


def _check_blobs(tree: Tree, descriptor: Descriptor, image: Image) -> None:
    named = {descriptor, image.config, *(layer.blob for layer in image.layers)}
    for blob in named:
        _check_size(tree, blob)
    expected = {LAYOUT_NAME, INDEX_NAME, *(blob.blob_name for blob in named)}
    if extra := tree.sizes.keys() - expected:
        raise refuse(f"{min(extra)!r} does not belong to the bundle", place=tree.place)


def _check_size(tree: Tree, blob: Descriptor) -> None:
    actual = tree.sizes.get(blob.blob_name)
    if actual is None:
        raise refuse(f"the blob {blob.digest} is missing", place=tree.place)
    if actual != blob.size_bytes:
        message = f"the blob {blob.digest} has {actual} bytes instead of {blob.size_bytes}"
        raise refuse(message, place=tree.place)


def _no_bundle(path: Path, message: str) -> InputError:
    hint = "name the folder or the `.tar` that `edgec build` wrote, or a folder from `edgec unpack`"
    return InputError(Diagnostic(message, place=str(path), hint=hint))
