"""Nouns of bundling: what goes into a bundle, and what came out.

Rule: all of this is data; the same `BundleContent` and key always make the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgec.source.model import SourceIdentity

MediaKind = Literal["weight", "weight.config", "doc", "code", "dataset"]

MANIFEST_PATH = "edgec-manifest.json"
PROVENANCE_PATH = "provenance.json"
SBOM_PATH = "sbom.cdx.json"
SIGNATURE_PATH = "model.sig"


@dataclass(frozen=True)
class BundleFile:
    """A file of the bundle. `path_in_bundle` is relative, with `/`; `digest` is `sha256:<hex>` of `source`."""

    path_in_bundle: str
    source: Path
    kind: MediaKind
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class BundleArtifact:
    """One compiled artifact: which files it consists of, by their paths in the bundle.

    `route`: how it was made, where its scheme leaves that open.
    """

    name: str
    format: str
    scheme: str
    files: tuple[str, ...]
    route: str | None = None


@dataclass(frozen=True)
class BundleContent:
    """Everything a bundle says and holds.

    `recipe`: the concrete recipe as JSON data. `model`: facts such as `architecture`, `parameters`, `context`,
    `precision`, `quantization`, `format`. `deployment`: what it carries for servers, by emitter. `proofs`,
    `not_verified`: JSON of `edgec.prove.model`. `tools`: name to version or `sha256:<hex>`. `inputs`: what went in
    besides the source (calibration text), name to `sha256:<hex>`. `platform`: the machine type that built it.
    `development_key`: it will be signed with a key nobody vouches for.
    """

    name: str
    version: str
    target: Mapping[str, Any]
    recipe: Mapping[str, Any]
    source: SourceIdentity
    files: tuple[BundleFile, ...]
    platform: str
    description: str | None = None
    licence: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[BundleArtifact, ...] = ()
    deployment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proofs: tuple[Mapping[str, Any], ...] = ()
    not_verified: tuple[Mapping[str, Any], ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    development_key: bool = False


@dataclass(frozen=True)
class BundleInfo:
    """A bundle that was written. `digest` is that of its OCI image manifest; `size_bytes` the sum of its blobs."""

    path: Path
    digest: str
    size_bytes: int
    key_fingerprint: str
    archive: Path | None = None
    attestation: Path | None = None
