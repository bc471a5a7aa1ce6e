"""`provenance.json`: an in-toto statement with a SLSA v1 predicate about the artifacts of a bundle.

Rule: it says what went in and what came out, never when or where; run-time facts belong to the detached attestation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from edgec.bundle.content import BundleContent
from edgec.documents.canonical import canonical_json, sha256_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edgec:build:v1"
BUILDER_ID = "urn:edgec:builder:local"
_HUB = "pkg:huggingface/"


def provenance_bytes(content: BundleContent) -> bytes:
    """The statement about the files of `content`, as canonical JSON."""
    subject = [
        {"digest": {"sha256": _hex(f.digest)}, "name": f.path_in_bundle}
        for f in sorted(content.files, key=lambda f: f.path_in_bundle)
    ]
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"recipe": dict(content.recipe), "recipeDigest": sha256_json(dict(content.recipe))},
        "internalParameters": {"platform": content.platform, "target": dict(content.target)},
        "resolvedDependencies": [*_source(content), *_inputs(content.inputs), *_tools(content.tools)],
    }
    return _statement(subject, {"buildDefinition": definition, "runDetails": {"builder": {"id": BUILDER_ID}}})


def run_attestation_bytes(name: str, image_digest: str, recipe: Mapping[str, Any], facts: Mapping[str, str]) -> bytes:
    """The statement about one run: `facts` may hold `invocationId`, `startedOn`, `finishedOn`, and others besides."""
    metadata_keys = ("invocationId", "startedOn", "finishedOn")
    run: dict[str, Any] = {
        "builder": {"id": BUILDER_ID},
        "metadata": {k: facts[k] for k in metadata_keys if k in facts},
    }
    environment = {k: v for k, v in facts.items() if k not in metadata_keys}
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"recipeDigest": sha256_json(dict(recipe))},
        "internalParameters": {"environment": environment},
    }
    subject = [{"digest": {"sha256": _hex(image_digest)}, "name": name}]
    return _statement(subject, {"buildDefinition": definition, "runDetails": run})


def _statement(subject: list[dict[str, Any]], predicate: dict[str, Any]) -> bytes:
    return canonical_json(
        {"_type": STATEMENT_TYPE, "predicate": predicate, "predicateType": PREDICATE_TYPE, "subject": subject}
    )


def _source(content: BundleContent) -> list[dict[str, Any]]:
    source = content.source
    origin: dict[str, Any] = {"name": "source", "uri": source.uri}
    if source.uri.startswith(_HUB) and source.revision:
        origin["digest"] = {"gitCommit": source.revision}
    files = [{"digest": {"sha256": _hex(f.digest)}, "name": f.name} for f in sorted(source.files, key=lambda f: f.name)]
    return [origin, *files]


def _inputs(inputs: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"digest": {"sha256": _hex(digest)}, "name": name} for name, digest in sorted(inputs.items())]


def _tools(tools: Mapping[str, str]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for name, value in sorted(tools.items()):
        if value.startswith("sha256:"):
            entries.append({"digest": {"sha256": _hex(value)}, "name": name})
        else:
            entries.append({"name": name, "uri": f"pkg:generic/{quote(name, safe='')}@{quote(value, safe='')}"})
    return entries


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
