"""A receipt is signed by the device that built, says what was checked and what was not, and no change goes unseen."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from bundle_case import derived_key, write_pem
from device_case import Device, edgellm_plan

from edgec.bundle.keyfile import load_public_key
from edgec.bundle.signing import sign_payload
from edgec.device.check_receipt import check_receipt
from edgec.device.device_key import device_key, key_path
from edgec.device.finalize import Finalized, finalize
from edgec.device.receipt import Receipt, verify_receipt
from edgec.documents.canonical import canonical_json
from edgec.errors import DeviceError, InputError, ProofError
from edgec.events import Event


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    return Device(tmp_path_factory.mktemp("device") / "device", [])


@pytest.fixture(scope="module")
def finished(bundle: Path, device: Device) -> Finalized:
    return finalize(bundle, artifact=None, bench=device.bench())


def checked(path: Path, device: Device, *, accept: bool = True, engine: Path | None = None, key: Path | None = None):
    public = load_public_key(key) if key else None
    return check_receipt(
        path, config=device.folder / "config", public_key=public, engine=engine, accept_stand_in=accept
    )


def payload(receipt: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(base64.b64decode(json.loads(receipt)["dsseEnvelope"]["payload"]))
    return found


def test_it_is_an_in_toto_statement_about_the_engines_files(finished: Finalized) -> None:
    statement = payload(finished.place.receipt.read_bytes())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "urn:edgec:receipt:v1"
    names = [subject["name"] for subject in statement["subject"]]
    assert names == ["config.json", "llm.engine", "tokenizer.json"]
    predicate = statement["predicate"]
    assert predicate["schema"] == "edgec/receipt/v1"
    assert predicate["stand_in"]["note"] == "engine built by a stand-in; not an engine"
    assert predicate["started"] < predicate["finished"]
    assert predicate["bundle"]["digest"].startswith("sha256:")


def test_the_in_toto_library_reads_it(finished: Finalized) -> None:
    statement = pytest.importorskip("in_toto_attestation.v1.statement")
    from google.protobuf import json_format  # noqa: PLC0415

    data = payload(finished.place.receipt.read_bytes())
    proto = json_format.Parse(json.dumps(data), statement.Statement([], "x", {}).pb)
    statement.Statement.copy_from_pb(proto).validate()


def test_the_device_verifies_its_own_and_others_by_its_public_key(
    finished: Finalized, device: Device, tmp_path: Path
) -> None:
    found = checked(finished.place.receipt, device, engine=finished.place.engine)
    assert (found.own, found.engine_files, found.receipt) == (True, 3, finished.receipt)
    stranger = Device(tmp_path / "stranger", [])
    with pytest.raises(ProofError, match="name the public key of the device"):
        checked(finished.place.receipt, stranger)
    public = device.folder / "config/device/device.pub"
    assert checked(finished.place.receipt, stranger, key=public).receipt == finished.receipt


def test_another_devices_key_is_refused(finished: Finalized, device: Device, tmp_path: Path) -> None:
    _, public = write_pem(derived_key(3), tmp_path)
    with pytest.raises(ProofError, match=r"signed with the key sha256:.*, not with"):
        checked(finished.place.receipt, device, key=public)


def test_a_stand_ins_receipt_is_refused_unless_asked_for(finished: Finalized, device: Device) -> None:
    with pytest.raises(ProofError, match="engine built by a stand-in; not an engine"):
        checked(finished.place.receipt, device, accept=False)


@pytest.mark.parametrize("change", ["stand_in", "subject", "type", "bytes", "schema", "empty"])
def test_what_was_changed_is_refused(finished: Finalized, device: Device, tmp_path: Path, change: str) -> None:
    data = finished.place.receipt.read_bytes()
    statement = payload(data)
    # Signed by the device's own key, so that only what the statement says can give it away.
    key = device_key(device.folder / "config")
    if change == "subject":
        statement["subject"] = []
    elif change == "type":
        statement["predicateType"] = "https://slsa.dev/provenance/v1"
    elif change == "schema":
        statement["predicate"]["surprise"] = 1
    elif change == "empty":
        statement["predicate"]["proof"]["checks"] = []
    path = tmp_path / "receipt.json"
    if change == "stand_in":
        statement["predicate"]["stand_in"] = None
        envelope = json.loads(data)
        envelope["dsseEnvelope"]["payload"] = base64.b64encode(canonical_json(statement)).decode()
        path.write_bytes(canonical_json(envelope))
    elif change == "bytes":
        path.write_bytes(data + b"\n")
    else:
        path.write_bytes(sign_payload(canonical_json(statement), key))
    with pytest.raises(ProofError):
        checked(path, device)


def test_the_same_receipt_and_key_give_the_same_bytes(finished: Finalized, device: Device) -> None:
    data, key = finished.place.receipt.read_bytes(), device_key(device.folder / "config")
    receipt = verify_receipt(data, key.public, "receipt")
    assert receipt.sign(key) == data
    assert Receipt.model_validate(receipt.model_dump(by_alias=True)) == receipt


@pytest.mark.parametrize("damage", ["changed", "missing", "more"])
def test_an_engine_that_is_not_the_proven_one_is_refused(
    finished: Finalized, device: Device, tmp_path: Path, damage: str
) -> None:
    import shutil  # noqa: PLC0415

    engine = shutil.copytree(finished.place.engine, tmp_path / "engine")
    if damage == "changed":
        (engine / "llm.engine").write_bytes(b"x" * (engine / "llm.engine").stat().st_size)
    elif damage == "missing":
        (engine / "config.json").unlink()
    else:
        (engine / "more").touch()
    words = {"changed": "was changed after the engine was proven", "missing": "is missing", "more": "does not belong"}
    with pytest.raises(ProofError, match=words[damage]):
        checked(finished.place.receipt, device, engine=engine)


def test_no_receipt_is_an_input_error(device: Device, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        checked(tmp_path / "receipt.json", device)
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(ProofError):
        checked(path, device)


def test_the_devices_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    events: list[Event] = []
    first = device_key(tmp_path, report=events.append)
    assert device_key(tmp_path, report=events.append).public.fingerprint == first.public.fingerprint
    assert len(events) == 1
    path = key_path(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(DeviceError, match="others can read this device's key"):
        device_key(tmp_path)


def test_the_plan_in_a_receipt_is_the_signed_one(finished: Finalized) -> None:
    assert finished.receipt.limits == edgellm_plan().limits
    assert finished.receipt.backend == edgellm_plan().backend
