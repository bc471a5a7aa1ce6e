"""Forges layouts: changes documents of a layout and makes every digest around them fit again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgec.bundle.oci import Descriptor, index_bytes
from edgec.documents.canonical import canonical_json, sha256_bytes

Change = Callable[[dict[str, Any]], None]


def read_image(layout: Path) -> dict[str, Any]:
    """The image manifest of a layout."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    image: dict[str, Any] = json.loads(_blob(layout, entry["digest"]).read_bytes())
    return image


def forge_image(layout: Path, change: Change) -> None:
    """Changes the image manifest; the index then names the changed one."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    image = read_image(layout)
    change(image)
    _blob(layout, entry["digest"]).unlink()
    data = canonical_json(image)
    (layout / "index.json").write_bytes(index_bytes(Descriptor(add_blob(layout, data), len(data))))


def forge_config(layout: Path, change: Change) -> None:
    """Changes the config; the image manifest then names the changed one."""
    old = read_image(layout)["config"]["digest"]
    config = json.loads(_blob(layout, old).read_bytes())
    change(config)
    _blob(layout, old).unlink()
    data = canonical_json(config)
    digest = add_blob(layout, data)
    forge_image(layout, lambda image: image["config"].update(digest=digest, size=len(data)))


def add_blob(layout: Path, data: bytes) -> str:
    """Adds a blob and returns its digest."""
    digest = sha256_bytes(data)
    _blob(layout, digest).write_bytes(data)
    return digest


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
