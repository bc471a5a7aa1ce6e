"""Signatures both ways: what is signed here, the daemon's rules and openssl accept; what openssl signs, is verified."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import zipfile
from pathlib import Path

import daemon_rules
import pytest
from dify_cases import KeyFile

from edgec.deploy.dify.keys import load_dify_public_key
from edgec.deploy.dify.package import PluginPackage, read_package, write_package
from edgec.deploy.dify.signature import (
    FIXED_UNIX_S,
    VERIFICATION_FILE,
    sign_package,
    signing_time,
    unique_id,
    unsigned,
    verify_package,
)
from edgec.errors import InputError, ProofError

MANIFEST = b"version: 0.1.0\nauthor: acme\nname: edge-llm\n"
PACKAGE = PluginPackage.of({"manifest.yaml": MANIFEST, "README.md": b"Hello", "main.py": b"print()\n"})


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    """What openssl prints."""
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True)
    return done.stdout


def test_the_daemon_accepts_what_is_signed_here(acme: KeyFile, other: KeyFile) -> None:
    data = write_package(sign_package(PACKAGE, acme.key))
    assert daemon_rules.accepts(data, acme.public.read_bytes())
    assert not daemon_rules.accepts(data, other.public.read_bytes())
    files, comment = daemon_rules.entries(data)
    assert files[-1] == (VERIFICATION_FILE, b'{"authorized_category":"community"}')
    assert json.loads(comment)["time"] == FIXED_UNIX_S


def test_openssl_accepts_what_is_signed_here(acme: KeyFile, tmp_path: Path) -> None:
    signed, signature = daemon_rules.signed_data(write_package(sign_package(PACKAGE, acme.key)))
    (tmp_path / "signature").write_bytes(signature)
    spki = tmp_path / "public.pem"
    spki.write_bytes(openssl("rsa", "-RSAPublicKey_in", "-in", acme.public, "-pubout"))
    verify = ("dgst", "-sha256", "-verify", spki, "-signature", tmp_path / "signature")
    assert openssl(*verify, data=signed) == b"Verified OK\n"


def test_what_another_program_signed_is_verified(acme: KeyFile) -> None:
    """As Dify's own tool writes it: deflated, sizes after the data, in an order of its own, signed by openssl."""
    contents = [("manifest.yaml", MANIFEST), ("b.txt", b"b" * 99), ("a.txt", b"a"), (VERIFICATION_FILE, b"{}")]
    sink = io.BytesIO()
    # An unseekable sink makes zipfile write sizes behind the data, as Go does.
    sink.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents:
            archive.writestr(name, content)
        archive.comment = b'{"signature":"","time":1700000000}'
        to_sign = b"".join(hashlib.sha256(c).digest() for _, c in contents) + b"1700000000"
        signature = openssl("dgst", "-sha256", "-sign", acme.private, data=to_sign)
        comment = {"signature": base64.b64encode(signature).decode(), "time": 1700000000}
        archive.comment = json.dumps(comment).encode()
    assert daemon_rules.accepts(sink.getvalue(), acme.public.read_bytes())
    found = verify_package(read_package(sink.getvalue()), [load_dify_public_key(acme.public)])
    assert (str(found.identity), found.signed_unix_s) == ("acme/edge-llm:0.1.0", 1700000000)
    assert found.unique_id == f"acme/edge-llm:0.1.0@{daemon_rules.checksum(sink.getvalue())}"


def test_same_package_and_key_give_the_same_bytes(acme: KeyFile, other: KeyFile) -> None:
    first = write_package(sign_package(PACKAGE, acme.key))
    assert first == write_package(sign_package(PACKAGE, acme.key))
    assert first != write_package(sign_package(PACKAGE, other.key))
    assert first != write_package(sign_package(PACKAGE, acme.key, unix_s=FIXED_UNIX_S + 1))


def test_signing_again_replaces_the_signature(acme: KeyFile, other: KeyFile) -> None:
    again = sign_package(sign_package(PACKAGE, other.key), acme.key)
    assert again == sign_package(PACKAGE, acme.key)
    assert unsigned(again) == PACKAGE


def test_the_first_accepted_key_that_signed_is_named(acme: KeyFile, other: KeyFile) -> None:
    keys = [other.key.public, acme.key.public]
    assert verify_package(sign_package(PACKAGE, acme.key), keys).key.fingerprint == acme.key.public.fingerprint


def test_a_changed_file_does_not_verify(acme: KeyFile) -> None:
    signed = sign_package(PACKAGE, acme.key)
    for number in range(len(signed.files)):
        files = [(n, c + b"!" if i == number else c) for i, (n, c) in enumerate(signed.files)]
        with pytest.raises(ProofError, match="no accepted key"):
            verify_package(PluginPackage(tuple(files), signed.comment), [acme.key.public])


def test_the_order_is_signed(acme: KeyFile) -> None:
    signed = sign_package(PACKAGE, acme.key)
    with pytest.raises(ProofError):
        verify_package(PluginPackage(signed.files[::-1], signed.comment), [acme.key.public])


def test_names_are_not_signed_but_the_unique_id_shows_them(acme: KeyFile) -> None:
    signed = sign_package(PACKAGE, acme.key)
    files = tuple(("sitecustomize.py" if n == "README.md" else n, c) for n, c in signed.files)
    renamed = PluginPackage(files, signed.comment)
    # The weakness is Dify's: its rules accept it too.
    assert daemon_rules.accepts(write_package(renamed), acme.public.read_bytes())
    assert verify_package(renamed, [acme.key.public]).unique_id != unique_id(signed)
    with pytest.raises(ProofError, match="a file was renamed"):
        verify_package(renamed, [acme.key.public], expected_unique_id=unique_id(signed))


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        (b"", "not signed"),
        (b"  ", "not signed"),
        (b"made by zip", "not Dify's signature"),
        (b'{"signature": "?", "time": 1}', "not Dify's signature"),
        (b'{"signature": "AAAA", "time": "1"}', "not Dify's signature"),
        (b'{"signature": "AAAA", "time": true}', "not Dify's signature"),
        (b'{"time": 1}', "not Dify's signature"),
        (b"[" * 60000, "not Dify's signature"),
        (b'{"signature": "AAAA", "time": 1}', "no accepted key"),
    ],
)
def test_no_signature(acme: KeyFile, comment: bytes, message: str) -> None:
    with pytest.raises(ProofError, match=message):
        verify_package(PluginPackage(PACKAGE.files, comment), [acme.key.public])


def test_time_of_a_signature() -> None:
    assert signing_time({}) == FIXED_UNIX_S
    assert signing_time({"SOURCE_DATE_EPOCH": "1600000000"}) == 1_600_000_000
    for wrong in ("-1", "0", "now", "1e9", "²"):
        with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
            signing_time({"SOURCE_DATE_EPOCH": wrong})
