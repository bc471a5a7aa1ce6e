"""The signature, beside the stock implementation: each accepts what the other made."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_case import Bundle, derived_key, make_content, write_pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from edgec.bundle.keyfile import PublicKey, SigningKey
from edgec.bundle.signing import sign_files, sign_payload, signed_files, signer_fingerprint
from edgec.bundle.verify import verify_bundle
from edgec.bundle.write import write_bundle
from edgec.documents.canonical import canonical_json
from edgec.errors import ProofError
from edgec.events import silent

Copy = Callable[[Path], Path]
DIGESTS = {"b/c": "sha256:" + "1" * 64, "a": "sha256:" + "2" * 64, "b.txt": "sha256:" + "3" * 64}


def model_signing(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("model_signing")
    command = [str(Path(sys.executable).with_name("model_signing")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def stock_verify(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    return model_signing("verify", "key", folder, "--signature", folder / "model.sig", "--public_key", public)


def test_the_stock_verifier_accepts_an_unpacked_bundle(bundle: Bundle, copy_of: Copy, tmp_path: Path) -> None:
    folder = copy_of(bundle.folder)
    _, public = write_pem(bundle.key, tmp_path)
    done = stock_verify(folder, public)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
    with (folder / "gguf/model-q4_0.gguf").open("r+b") as file:
        file.write(b"X")
    assert stock_verify(folder, public).returncode == 1


def test_we_accept_a_folder_the_stock_signer_signed(bundle: Bundle, copy_of: Copy, tmp_path: Path) -> None:
    folder = copy_of(bundle.folder)
    private, _ = write_pem(derived_key(11), tmp_path)
    (folder / "model.sig").unlink()
    done = model_signing("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private)
    assert done.returncode == 0, done.stderr
    assert verify_bundle(folder, public_key=derived_key(11).public).files == 7
    signature = (folder / "model.sig").read_bytes()
    for changed in (signature + b"\n", canonical_json(json.loads(signature))):
        (folder / "model.sig").write_bytes(changed)
        with pytest.raises(ProofError, match="not written as its signer writes it"):
            verify_bundle(folder, public_key=derived_key(11).public)
    (folder / "model.sig").write_bytes(signature)
    # The stock signer leaves .git out; such a file is still refused here.
    (folder / ".git").mkdir()
    (folder / ".git/hook.py").write_text("import os")
    with pytest.raises(ProofError, match=r"\.git"):
        verify_bundle(folder, public_key=derived_key(11).public)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_signatures_are_the_same_every_time(curve: ec.EllipticCurve) -> None:
    key = SigningKey(ec.derive_private_key(99, curve))
    signature = sign_files("x", DIGESTS, key)
    assert signature == sign_files("x", dict(reversed(DIGESTS.items())), key)
    assert signed_files(signature, key.public, "x") == DIGESTS
    assert signer_fingerprint(signature, "x") == key.public.fingerprint


def _refused(signature: bytes, key: PublicKey) -> None:
    with pytest.raises(ProofError):
        signed_files(signature, key, "model.sig")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda s: s.update(more=1),
        lambda s: s["dsseEnvelope"].update(payloadType="text/plain"),
        lambda s: s["dsseEnvelope"].update(payload="not base64!"),
        lambda s: s["dsseEnvelope"].update(signatures=[]),
        lambda s: s["dsseEnvelope"]["signatures"].append(s["dsseEnvelope"]["signatures"][0]),
        lambda s: s["dsseEnvelope"]["signatures"][0].update(keyid="x"),
        lambda s: s["dsseEnvelope"]["signatures"][0].update(sig=""),
        lambda s: s["verificationMaterial"].update(tlogEntries=[{}]),
        lambda s: s["verificationMaterial"].update(certificate={}),
        lambda s: s["verificationMaterial"]["publicKey"].update(hint="00"),
        lambda s: s.pop("dsseEnvelope"),
    ],
)
def test_a_signature_file_has_no_room_for_anything_else(
    key: SigningKey, change: Callable[[dict[str, Any]], None]
) -> None:
    signature = json.loads(sign_files("x", DIGESTS, key))
    change(signature)
    _refused(canonical_json(signature), key.public)


def _resigned(key: SigningKey, change: Callable[[dict[str, Any]], None]) -> bytes:
    payload = base64.b64decode(json.loads(sign_files("x", DIGESTS, key))["dsseEnvelope"]["payload"])
    statement = json.loads(payload)
    change(statement)
    return sign_payload(canonical_json(statement), key)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
        lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
        lambda s: s["predicate"]["resources"].pop(),
        lambda s: s["predicate"]["resources"][0].update(algorithm="blake3"),
        lambda s: s["predicate"]["serialization"].update(method="shards"),
        lambda s: s.pop("predicate"),
        lambda s: s.update(subject=[]),
    ],
)
def test_a_signed_statement_about_something_else_is_refused(
    key: SigningKey, change: Callable[[dict[str, Any]], None]
) -> None:
    assert signed_files(_resigned(key, lambda s: None), key.public, "x") == DIGESTS
    _refused(_resigned(key, change), key.public)


def test_the_attestation_of_a_run_is_no_bundle_signature(bundle: Bundle, copy_of: Copy, tmp_path: Path) -> None:
    # Both are signed with the same key: one must not pass for the other.
    info = write_bundle(make_content(tmp_path / "i"), tmp_path / "o", key=bundle.key, report=silent, run_facts={})
    folder = copy_of(bundle.folder)
    assert info.attestation is not None
    shutil.copyfile(info.attestation, folder / "model.sig")
    with pytest.raises(ProofError, match="not one over a model's files"):
        verify_bundle(folder, public_key=bundle.public)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b":{", b": {"),
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode(),
    ],
)
def test_a_signature_file_has_one_spelling(
    bundle: Bundle, copy_of: Copy, key: SigningKey, change: Callable[[bytes], bytes]
) -> None:
    folder = copy_of(bundle.folder)
    (folder / "model.sig").write_bytes(change((folder / "model.sig").read_bytes()))
    with pytest.raises(ProofError, match="not written as its signer writes it"):
        verify_bundle(folder, public_key=key.public)


CURVES = {
    ec.SECP256R1(): 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ec.SECP384R1(): 2**384 - 1388124618062372383947042015309946732620727252194336364173,
    ec.SECP521R1(): 2**521 - 657877501894328237357444332315020117536923257219387276263472201219398408051703,
}


@pytest.mark.parametrize(("curve", "order"), CURVES.items(), ids=lambda x: getattr(x, "name", "n"))
def test_the_other_signature_that_is_valid_too_is_refused(curve: ec.EllipticCurve, order: int) -> None:
    key = SigningKey(ec.derive_private_key(99, curve))
    for name in "abcdefgh":
        signature = json.loads(sign_files(name, DIGESTS, key))
        holder = signature["dsseEnvelope"]["signatures"][0]
        r, s = decode_dss_signature(base64.b64decode(holder["sig"]))
        assert s <= order // 2
        other = encode_dss_signature(r, order - s)
        holder["sig"] = base64.b64encode(other).decode()
        # To everyone else this is as good a signature.
        payload = base64.b64decode(signature["dsseEnvelope"]["payload"])
        kind = b"application/vnd.in-toto+json"
        assert key.public.verifies(other, b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
        with pytest.raises(ProofError, match="changed into another one"):
            signed_files(canonical_json(signature), key.public, "model.sig")


@pytest.mark.parametrize("field", ["payload", "sig"])
def test_base64_has_one_spelling(key: SigningKey, field: str) -> None:
    # The bits before the padding mean nothing: another letter there decodes to the same bytes.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelled = 0
    for name in ("x", "xx", "xxx", "xxxx", "xxxxx", "xxxxxx"):
        signature = json.loads(sign_files(name, DIGESTS, key))
        envelope = signature["dsseEnvelope"]
        holder = envelope if field == "payload" else envelope["signatures"][0]
        text = holder[field]
        body = text.rstrip("=")
        if body == text:
            continue
        holder[field] = body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + text[len(body) :]
        assert base64.b64decode(holder[field]) == base64.b64decode(text)
        _refused(canonical_json(signature), key.public)
        respelled += 1
    assert respelled > 0
