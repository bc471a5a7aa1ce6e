"""The OCI image layout of a bundle: CNCF ModelPack layers, config, image manifest, index.

Rule: the config and the image manifest follow byte for byte from the signed `edgec-manifest.json` and the layers, so
that nothing unsigned in them can say anything else. Changing these bytes means a new manifest schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from edgec.bundle.content import MANIFEST_PATH, SIGNATURE_PATH, MediaKind
from edgec.bundle.manifest import Manifest
from edgec.bundle.strict_json import parse_object, refuse
from edgec.documents.canonical import canonical_json, sha256_bytes

LAYOUT_NAME = "oci-layout"
INDEX_NAME = "index.json"
LAYOUT_BYTES = canonical_json({"imageLayoutVersion": "1.0.0"})
# Ours, and the text of the OCI specification, which clients of registries write.
_LAYOUT_SPELLINGS = frozenset({LAYOUT_BYTES, b'{"imageLayoutVersion": "1.0.0"}'})
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_FILEPATH = "org.cncf.model.filepath"
_TITLE = "org.opencontainers.image.title"
_REF_NAME = "org.opencontainers.image.ref.name"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}")
# `.raw`: uncompressed, so that a pulled file can be mapped into memory as it is.
_KINDS: dict[str, MediaKind] = {f"application/vnd.cncf.model.{k}.v1.raw": k for k in get_args(MediaKind)}
_TYPES = {kind: media_type for media_type, kind in _KINDS.items()}


@dataclass(frozen=True)
class Descriptor:
    """A blob: `digest` is `sha256:<hex>`."""

    digest: str
    size_bytes: int

    @property
    def blob_name(self) -> str:
        """Its path in the layout."""
        return "blobs/sha256/" + self.digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Layer:
    """A file of the bundle as a layer."""

    path: str
    kind: MediaKind
    blob: Descriptor


@dataclass(frozen=True)
class Image:
    """An image manifest as read: what the blobs are. Its remaining bytes are compared with what they must be."""

    config: Descriptor
    layers: tuple[Layer, ...]


def ordered_layers(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Layers in the one order they stand in: by path, then the manifest, then the signature."""
    last = {MANIFEST_PATH: 1, SIGNATURE_PATH: 2}
    return tuple(sorted(layers, key=lambda x: (last.get(x.path, 0), x.path)))


def config_bytes(manifest: Manifest, layers: tuple[Layer, ...]) -> bytes:
    """The ModelPack config (`application/vnd.cncf.model.config.v1+json`)."""
    descriptor: dict[str, Any] = {"name": manifest.name, "title": manifest.name, "version": manifest.version}
    if manifest.description:
        descriptor["description"] = manifest.description
    if manifest.licence:
        descriptor["licenses"] = [manifest.licence]
    if manifest.source.revision:
        descriptor["revision"] = manifest.source.revision
    model = manifest.model
    facts = {
        "architecture": model.get("architecture"),
        "format": model.get("format"),
        "paramSize": _parameter_size(model.get("parameters")),
        "precision": model.get("precision"),
        "quantization": model.get("quantization"),
    }
    # The specification asks for strings; what is not known is left out.
    config = {name: str(value) for name, value in facts.items() if value is not None}
    modelfs = {"diffIds": [layer.blob.digest for layer in layers], "type": "layers"}
    return canonical_json({"config": config, "descriptor": descriptor, "modelfs": modelfs})


def image_bytes(manifest: Manifest, layers: tuple[Layer, ...]) -> bytes:
    """The OCI image manifest with the ModelPack config and one layer per file."""
    config = config_bytes(manifest, layers)
    annotations = {_TITLE: manifest.name, "org.opencontainers.image.version": manifest.version}
    if manifest.licence:
        annotations["org.opencontainers.image.licenses"] = manifest.licence
    if manifest.description:
        annotations["org.opencontainers.image.description"] = manifest.description
    return canonical_json(
        {
            "annotations": annotations,
            "artifactType": ARTIFACT_TYPE,
            "config": {"digest": sha256_bytes(config), "mediaType": CONFIG_TYPE, "size": len(config)},
            "layers": [_layer_object(layer) for layer in layers],
            "mediaType": MANIFEST_TYPE,
            "schemaVersion": 2,
        }
    )


def index_bytes(image: Descriptor) -> bytes:
    """`index.json` that names one image manifest. It carries no tag: that belongs to whoever stores the bundle."""
    entry = {
        "artifactType": ARTIFACT_TYPE,
        "digest": image.digest,
        "mediaType": MANIFEST_TYPE,
        "size": image.size_bytes,
    }
    return canonical_json({"manifests": [entry], "mediaType": INDEX_TYPE, "schemaVersion": 2})


def parse_layout(data: bytes) -> None:
    """Accepts `oci-layout` of version 1.0.0. Raises ProofError."""
    if data not in _LAYOUT_SPELLINGS:
        raise refuse("not an OCI image layout of version 1.0.0", place=LAYOUT_NAME)


def parse_index(data: bytes) -> Descriptor:
    """The one image manifest `index.json` names. Raises ProofError.

    A tag is allowed, as clients of registries write one; nothing more. The bytes are those that edgec or such a client
    (Go's `encoding/json`: compact, keys in the order of the specification's types) writes for what the index says.
    """
    index = parse_object(data, INDEX_NAME)
    try:
        _only(index, "schemaVersion", "mediaType", "manifests")
        (entry,) = index["manifests"]
        _only(entry, "mediaType", "digest", "size", "artifactType", "annotations")
        annotations = entry.get("annotations", {})
        _only(annotations, _REF_NAME)
        fits = (
            index["schemaVersion"] == 2
            and index.get("mediaType", INDEX_TYPE) == INDEX_TYPE
            and entry["mediaType"] == MANIFEST_TYPE
            and entry.get("artifactType", ARTIFACT_TYPE) == ARTIFACT_TYPE
            and all(_TAG.fullmatch(tag) for tag in annotations.values())
            and data in {canonical_json(index), _as_clients_write(index, entry)}
        )
        if fits:
            return _descriptor(entry)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise refuse("the index does not name exactly one model image", place=INDEX_NAME)


def _as_clients_write(index: dict[str, Any], entry: dict[str, Any]) -> bytes:
    order = ("mediaType", "digest", "size", "annotations", "artifactType")
    ordered: dict[str, Any] = {name: index[name] for name in ("schemaVersion", "mediaType") if name in index}
    ordered["manifests"] = [{name: entry[name] for name in order if name in entry}]
    return json.dumps(ordered, separators=(",", ":")).encode()


def parse_image(data: bytes, place: str) -> Image:
    """The blobs an image manifest names. Raises ProofError."""
    document = parse_object(data, place)
    try:
        return Image(_descriptor(document["config"]), tuple(_layer(item) for item in document["layers"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise refuse("the image manifest is not one of a model bundle", place=place) from None


def _layer(item: dict[str, Any]) -> Layer:
    annotations = item["annotations"]
    path = annotations[_FILEPATH]
    if not isinstance(path, str) or annotations[_TITLE] != path:
        raise ValueError("the two names of a layer differ")
    return Layer(path, _KINDS[item["mediaType"]], _descriptor(item))


def _layer_object(layer: Layer) -> dict[str, Any]:
    return {
        "annotations": {_FILEPATH: layer.path, _TITLE: layer.path},
        "digest": layer.blob.digest,
        "mediaType": _TYPES[layer.kind],
        "size": layer.blob.size_bytes,
    }


def _descriptor(item: dict[str, Any]) -> Descriptor:
    digest, size_bytes = item["digest"], item["size"]
    if not _DIGEST.fullmatch(digest) or type(size_bytes) is not int or size_bytes < 0:
        raise ValueError("not a descriptor")
    return Descriptor(digest, size_bytes)


def _only(value: dict[str, Any], *allowed: str) -> None:
    if value.keys() - set(allowed):
        raise ValueError("unknown key")


def _parameter_size(parameters: Any) -> str | None:
    """`1.1b`, `494m`: how the ModelPack specification writes a number of parameters."""
    if not isinstance(parameters, int):
        return None
    for unit, factor in (("b", 10**9), ("m", 10**6), ("k", 10**3)):
        if parameters >= factor:
            return f"{parameters / factor:.1f}".removesuffix(".0") + unit
    return str(parameters)
