"""The documents for others: their own validators accept them, and they say what they should."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from bundle_case import COMMIT, Bundle, make_content

from edgec.bundle.manifest import Manifest, parse_manifest
from edgec.bundle.provenance import run_attestation_bytes
from edgec.bundle.sbom import sbom_bytes
from edgec.bundle.signing import signed_payload
from edgec.bundle.write import write_bundle
from edgec.documents.canonical import sha256_bytes
from edgec.errors import ProofError
from edgec.events import silent


def _check_statement(data: bytes) -> dict[str, Any]:
    pytest.importorskip("in_toto_attestation")
    from google.protobuf import json_format  # noqa: PLC0415
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2  # noqa: PLC0415
    from in_toto_attestation.v1 import statement_pb2  # noqa: PLC0415
    from in_toto_attestation.v1.statement import Statement  # noqa: PLC0415

    statement = json_format.Parse(data, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    document: dict[str, Any] = json.loads(data)
    json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    return document


def test_the_provenance_is_a_valid_slsa_statement(bundle: Bundle) -> None:
    document = _check_statement((bundle.folder / "provenance.json").read_bytes())
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {s["name"] for s in document["subject"]} == {"README.md", "config.json", "gguf/model-q4_0.gguf"}
    dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"digest": {"gitCommit": COMMIT}, "name": "source", "uri": bundle.content.source.uri} in dependencies
    assert {"name": "edgec", "uri": "pkg:generic/edgec@0.1.0"} in dependencies
    assert {"digest": {"sha256": sha256_bytes(b"text")[7:]}, "name": "calibration.txt"} in dependencies
    assert "startedOn" not in json.dumps(document)


def test_the_attestation_of_a_run_is_a_valid_signed_slsa_statement(bundle: Bundle, tmp_path: Path) -> None:
    facts = {"startedOn": "2026-01-01T00:00:00Z", "finishedOn": "2026-01-01T00:10:00Z", "host": "builder-7"}
    content = make_content(tmp_path / "in")
    info = write_bundle(content, tmp_path / "out", key=bundle.key, report=silent, run_facts=facts)
    assert info.attestation is not None
    payload = signed_payload(info.attestation.read_bytes(), bundle.public, "attestation")
    assert payload == run_attestation_bytes("out", info.digest, content.recipe, facts)
    document = _check_statement(payload)
    assert document["subject"][0]["digest"]["sha256"] == info.digest.removeprefix("sha256:")
    assert document["predicate"]["runDetails"]["metadata"]["startedOn"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("licence", ["apache-2.0", "llama3", None])
def test_the_bill_of_materials_is_valid(tmp_path: Path, licence: str | None) -> None:
    pytest.importorskip("cyclonedx")
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    data = sbom_bytes(make_content(tmp_path, licence=licence))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    document = json.loads(data)
    model = document["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["pedigree"]["ancestors"][0]["purl"] == f"pkg:huggingface/acme/docs-llama@{COMMIT}"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics == [{"slice": "gguf-q4_0", "type": "mean KL divergence", "value": "0.0123"}]
    assert "speed on the device" in model["modelCard"]["considerations"]["technicalLimitations"][0]


def test_a_bill_of_materials_with_little_to_say_is_valid(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx")
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    content = make_content(tmp_path, proofs=(), not_verified=(), tools={}, model={}, description=None, artifacts=())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom_bytes(content).decode()) is None


def test_the_manifest_lists_everything_but_itself_and_the_signature(bundle: Bundle) -> None:
    manifest = parse_manifest((bundle.folder / "edgec-manifest.json").read_bytes())
    files = {p.relative_to(bundle.folder).as_posix(): p.read_bytes() for p in bundle.folder.rglob("*") if p.is_file()}
    listed = {f.path: f for f in manifest.files}
    assert listed.keys() == files.keys() - {"edgec-manifest.json", "model.sig"}
    assert all(f.digest == sha256_bytes(files[p]) and f.size_bytes == len(files[p]) for p, f in listed.items())
    assert manifest.to_bytes() == files["edgec-manifest.json"]
    assert (manifest.development_key, manifest.proofs[0].passed) == (False, True)


def test_a_manifest_of_the_future_is_refused_with_advice(bundle: Bundle) -> None:
    document = json.loads((bundle.folder / "edgec-manifest.json").read_bytes())
    document["schema"] = "edgec/manifest/v2"
    with pytest.raises(ProofError, match="update edgec"):
        parse_manifest(json.dumps(document).encode())


def test_the_json_schema_names_the_version() -> None:
    assert Manifest.model_json_schema()["properties"]["schema"]["const"] == "edgec/manifest/v1"


def test_the_signature_holds_the_statement_in_plain_sight(bundle: Bundle) -> None:
    signature = json.loads((bundle.folder / "model.sig").read_bytes())
    statement = json.loads(base64.b64decode(signature["dsseEnvelope"]["payload"]))
    assert statement["subject"][0]["name"] == "docs-llama-1.2.3"
    assert [r["name"] for r in statement["predicate"]["resources"]] == [
        "README.md", "config.json", "edgec-manifest.json", "gguf/model-q4_0.gguf", "provenance.json", "sbom.cdx.json",
    ]  # fmt: skip
