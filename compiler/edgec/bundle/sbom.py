"""`sbom.cdx.json`: the bundle as a CycloneDX 1.6 ML-BOM (model, its files, its ancestor, the tools).

Rule: written by hand, because the Python library has no model card class and drops one silently; the tests validate it.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from edgec.bundle.content import BundleContent
from edgec.documents.canonical import canonical_json, sha256_json

_NAMESPACE = uuid.UUID("6f1b1f0e-6c1e-5c0a-9a53-0b6a5f8a4d11")
# Hugging Face writes licences in lower case; these are the SPDX identifiers they stand for.
_SPDX = {
    spdx.lower(): spdx
    for spdx in (
        "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC0-1.0",
        "GPL-3.0-only", "LGPL-3.0-only", "AGPL-3.0-only", "MPL-2.0", "ISC", "Unlicense",
    )
}  # fmt: skip


def sbom_bytes(content: BundleContent) -> bytes:
    """The ML-BOM of `content`, as canonical JSON."""
    reference = f"{content.name}@{content.version}"
    model = _model(content, reference)
    files = [
        {
            "bom-ref": f"file:{f.path_in_bundle}",
            "hashes": [_hash(f.digest)],
            "name": f.path_in_bundle,
            "type": "data" if f.kind in {"dataset", "weight.config"} else "file",
        }
        for f in sorted(content.files, key=lambda f: f.path_in_bundle)
    ]
    tools = [{"name": name, "type": "application", "version": value} for name, value in sorted(content.tools.items())]
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "components": files,
        "dependencies": [{"dependsOn": [f["bom-ref"] for f in files], "ref": reference}],
        "metadata": {"component": model, "tools": {"components": tools}},
        "specVersion": "1.6",
        "version": 1,
    }
    # The serial number must be unique per content, not per run.
    document["serialNumber"] = uuid.uuid5(_NAMESPACE, sha256_json(document)).urn
    return canonical_json(document)


def _model(content: BundleContent, reference: str) -> dict[str, Any]:
    model: dict[str, Any] = {
        "bom-ref": reference,
        "hashes": [],
        "modelCard": _model_card(content),
        "name": content.name,
        "pedigree": {"ancestors": [_ancestor(content)]},
        "purl": f"pkg:generic/{quote(content.name, safe='')}@{quote(content.version, safe='')}",
        "type": "machine-learning-model",
        "version": content.version,
    }
    weights = [f for f in content.files if f.kind == "weight"]
    # One hash can only speak for one file; a sharded model's are with its files.
    model["hashes"] = [_hash(weights[0].digest)] if len(weights) == 1 else []
    if content.description:
        model["description"] = content.description
    if licence := content.licence or content.source.licence:
        model["licenses"] = [_licence(licence)]
    return model


def _model_card(content: BundleContent) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if architecture := content.model.get("architecture"):
        parameters = {"architectureFamily": "transformer", "modelArchitecture": str(architecture)}
    metrics = [
        {"slice": proof["artifact"], "type": check["name"], "value": repr(check["measured"])}
        for proof in content.proofs
        for check in proof["checks"]
    ]
    limits = [f"{n['what']}: {n['why']}" for n in content.not_verified]
    card: dict[str, Any] = {"modelParameters": parameters}
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    if limits:
        card["considerations"] = {"technicalLimitations": [f"Not verified: {limit}" for limit in limits]}
    return card


def _ancestor(content: BundleContent) -> dict[str, Any]:
    source = content.source
    name = source.uri.removeprefix("pkg:huggingface/").removeprefix("file:").split("@")[0]
    ancestor: dict[str, Any] = {"name": name or source.uri, "type": "machine-learning-model"}
    if source.uri.startswith("pkg:"):
        ancestor["purl"] = source.uri
    if source.revision:
        ancestor["version"] = source.revision
    if source.licence:
        ancestor["licenses"] = [_licence(source.licence)]
    ancestor["components"] = [
        {"hashes": [_hash(f.digest)], "name": f.name, "type": "file"}
        for f in sorted(source.files, key=lambda f: f.name)
    ]
    return ancestor


def _licence(licence: str) -> dict[str, Any]:
    spdx = _SPDX.get(licence.lower())
    return {"license": {"id": spdx} if spdx else {"name": licence}}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}
