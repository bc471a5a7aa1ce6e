"""`edgec-manifest.json`: what a bundle is, what it holds, what was proven about it and what was not.

Rule: every file but the manifest itself and the signature over it is listed with digest and size; no times, no hosts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgec.bundle.content import MANIFEST_PATH, BundleContent, MediaKind
from edgec.bundle.strict_json import parse_object, refuse
from edgec.documents.canonical import canonical_json
from edgec.prove.model import NotVerified, Proof

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class FileEntry(_Doc):
    """A file of the bundle."""

    path: str
    kind: MediaKind
    digest: Digest
    size_bytes: int = Field(ge=0)


class ArtifactEntry(_Doc):
    """A compiled artifact and the files it consists of."""

    name: str
    format: str
    scheme: str
    route: str | None = Field(None, description="How it was made, where its scheme leaves that open.")
    files: tuple[str, ...]


class SourceFileEntry(_Doc):
    """A file of the checkpoint the artifacts were compiled from."""

    name: str
    digest: Digest
    size_bytes: int = Field(ge=0)


class SourceEntry(_Doc):
    """The checkpoint the artifacts were compiled from."""

    uri: str
    revision: str | None
    licence: str | None
    files: tuple[SourceFileEntry, ...]


class Manifest(_Doc):
    """The document `edgec/manifest/v1`."""

    schema_: Literal["edgec/manifest/v1"] = Field("edgec/manifest/v1", alias="schema")
    name: str
    version: str
    description: str | None
    licence: str | None
    target: dict[str, Any]
    recipe: dict[str, Any]
    model: dict[str, Any]
    source: SourceEntry
    artifacts: tuple[ArtifactEntry, ...]
    files: tuple[FileEntry, ...]
    deployment: dict[str, dict[str, Any]] = Field(description="What is carried for servers, by emitter.")
    proofs: tuple[Proof, ...]
    not_verified: tuple[NotVerified, ...]
    tools: dict[str, str]
    platform: str
    development_key: bool = Field(description="Signed with a key made on the spot, which nobody vouches for.")

    def to_bytes(self) -> bytes:
        """The canonical JSON that is signed."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


def make_manifest(content: BundleContent, generated: Iterable[FileEntry]) -> Manifest:
    """The manifest of `content` and of the documents `generated` from it."""
    files = [
        FileEntry(path=f.path_in_bundle, kind=f.kind, digest=f.digest, size_bytes=f.size_bytes) for f in content.files
    ]
    source = content.source
    source_files = tuple(
        SourceFileEntry(name=f.name, digest=f.digest, size_bytes=f.size_bytes)
        for f in sorted(source.files, key=lambda f: f.name)
    )
    return Manifest(
        schema_="edgec/manifest/v1",
        name=content.name,
        version=content.version,
        description=content.description,
        licence=content.licence,
        target=dict(content.target),
        recipe=dict(content.recipe),
        model=dict(content.model),
        source=SourceEntry(uri=source.uri, revision=source.revision, licence=source.licence, files=source_files),
        artifacts=tuple(
            ArtifactEntry(name=a.name, format=a.format, scheme=a.scheme, route=a.route, files=a.files)
            for a in content.artifacts
        ),
        files=tuple(sorted([*files, *generated], key=lambda f: f.path)),
        deployment={name: dict(facts) for name, facts in content.deployment.items()},
        proofs=tuple(Proof.model_validate(p) for p in content.proofs),
        not_verified=tuple(NotVerified.model_validate(n) for n in content.not_verified),
        tools=dict(content.tools),
        platform=content.platform,
        development_key=content.development_key,
    )


def parse_manifest(data: bytes, place: str = MANIFEST_PATH) -> Manifest:
    """The manifest in `data`. Raises ProofError naming `place` and the first field that is wrong."""
    document = parse_object(data, place)
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise refuse(
            f"{where}: {first['msg']}",
            place=place,
            hint="the bundle is damaged, or was made by a newer edgec: update edgec",
        ) from None
