"""Key files: made with care, and every other form refused with a command that really converts it."""

from __future__ import annotations

import shlex
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dify_cases import KeyFile

from edgec.deploy.dify.keyring import default_dify_key, find_dify_key, own_public_keys, signing_path
from edgec.deploy.dify.keys import load_dify_key, load_dify_public_key, new_dify_key, public_path
from edgec.errors import InputError
from edgec.events import Event, Note, silent


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def refused(path: Path, *, private: bool = True) -> str:
    """What is said of a key that cannot be used."""
    with pytest.raises(InputError) as caught:
        load_dify_key(path) if private else load_dify_public_key(path)
    assert caught.value.diagnostics[0].place == str(path)
    assert caught.value.diagnostics[0].hint
    return str(caught.value)


def converted(said: str, folder: Path, name: str) -> Path:
    """Runs the command that a hint names, as a person would."""
    command = said.partition("convert it: ")[2]
    subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)
    return folder / name


def test_a_made_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.private.pem"
    key = new_dify_key(path, bits=2048)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert public_path(path).read_bytes().startswith(b"-----BEGIN RSA PUBLIC KEY-----\n")
    assert load_dify_key(path).public.fingerprint == key.public.fingerprint
    assert load_dify_public_key(public_path(path)).fingerprint == key.public.fingerprint
    before = path.read_bytes()
    for standing in (path, public_path(path)):
        with pytest.raises(InputError, match="not overwritten"):
            new_dify_key(path, bits=2048)
        standing.rename(standing.with_suffix(".away"))
    assert path.with_suffix(".away").read_bytes() == before


def test_openssl_reads_a_made_key(acme: KeyFile) -> None:
    openssl("rsa", "-in", acme.private, "-check", "-noout")
    openssl("rsa", "-RSAPublicKey_in", "-in", acme.public, "-noout")


def test_pkcs8_is_refused_and_the_hint_converts_it(acme: KeyFile, tmp_path: Path) -> None:
    path = tmp_path / "my key.pem"
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", acme.private, "-out", path)
    said = refused(path)
    assert "PKCS#8" in said
    key = load_dify_key(converted(said, tmp_path, "dify.private.pem"))
    assert key.public.fingerprint == acme.key.public.fingerprint


def test_subject_public_key_info_is_refused_and_the_hint_converts_it(acme: KeyFile, tmp_path: Path) -> None:
    path = tmp_path / "public.pem"
    openssl("rsa", "-in", acme.private, "-pubout", "-out", path)
    said = refused(path, private=False)
    assert "SubjectPublicKeyInfo" in said
    key = load_dify_public_key(converted(said, tmp_path, "dify.public.pem"))
    assert key.fingerprint == acme.key.public.fingerprint


@pytest.mark.parametrize("form", [["-traditional"], []], ids=["PKCS#1", "PKCS#8"])
def test_an_encrypted_key_is_refused(acme: KeyFile, tmp_path: Path, form: list[str]) -> None:
    path = tmp_path / "key.pem"
    openssl("rsa", "-in", acme.private, *form, "-aes128", "-passout", "pass:secret", "-out", path)
    assert "the key is encrypted" in refused(path)


@pytest.mark.parametrize("form", ["sec1", "pkcs8"])
def test_an_ec_key_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ec.pem"
    if form == "sec1":
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    else:
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    assert "a key of the kind EC; Dify takes RSA only" in refused(path)
    public = tmp_path / "ec.pub"
    openssl("ec", "-in", path, "-pubout", "-out", public)
    assert "a key of the kind EC" in refused(public, private=False)


def test_the_wrong_half_is_refused(acme: KeyFile) -> None:
    assert "this is a public key" in refused(acme.public)
    assert "this is a private key" in refused(acme.private, private=False)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.pem"
    openssl("genrsa", "-traditional", "-out", path, "1024")
    assert "1024 bits is too short" in refused(path)


def test_a_key_of_numbers_that_do_not_belong_together_is_refused(acme: KeyFile, tmp_path: Path) -> None:
    numbers = load_dify_key(acme.private).private.private_numbers()
    # Right primes and modulus, and exponents that are none of theirs.
    wrong = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d - 2, numbers.dmp1 - 2, numbers.dmq1 - 2, numbers.iqmp, numbers.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    path = tmp_path / "wrong.pem"
    path.write_bytes(wrong.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    assert "do not belong together" in refused(path)


def test_what_is_no_key_is_refused(acme: KeyFile, tmp_path: Path) -> None:
    pem = acme.private.read_bytes()
    cases: Mapping[str, tuple[bytes, str]] = {
        "text": (b"hello", "not a PEM key"),
        "empty": (b"", "not a PEM key"),
        "huge": (b"\n" * 100_000 + pem, "not a PEM key"),
        "cut": (pem[:400], "other things than one whole key"),
        "two": (pem + pem, "other things than one whole key"),
        "spoilt": (pem.replace(b"\nM", b"\nN", 1), "not a whole PEM private key"),
        "certificate": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "with CERTIFICATE"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert message in refused(path), name
    assert "no such key" in refused(tmp_path / "none")
    assert "cannot be read" in refused(tmp_path)


def test_the_publisher_is_asked_for_a_public_key(tmp_path: Path) -> None:
    """Another key of one's own verifies nothing that others signed."""
    ec, cert, short = (tmp_path / f"{name}.pem" for name in ("ec", "cert", "short"))
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "private.pem")
    openssl("pkey", "-in", tmp_path / "private.pem", "-pubout", "-out", ec)
    openssl("req", "-x509", "-key", tmp_path / "private.pem", "-subj", "/CN=acme", "-out", cert)
    openssl("genrsa", "-out", tmp_path / "rsa.pem", "1024")
    openssl("rsa", "-in", tmp_path / "rsa.pem", "-RSAPublicKey_out", "-out", short)
    (tmp_path / "text.pem").write_text("not a key")
    for path in (ec, cert, short, tmp_path / "text.pem", tmp_path / "none.pem"):
        said = refused(path, private=False)
        assert "ask the publisher for the public key in PKCS#1" in said
        assert "keygen" not in said


def test_a_key_that_others_can_read_is_noted(acme: KeyFile, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(acme.private.read_bytes())
    path.chmod(0o640)
    notes: list[Event] = []
    load_dify_key(path, report=notes.append)
    (note,) = notes
    assert isinstance(note, Note)
    assert f"chmod 600 {path}" in note.message


def test_order_of_the_keys(acme: KeyFile, other: KeyFile, tmp_path: Path) -> None:
    """The recipe's, the environment's, the user's, the development key; planning makes none."""
    assert find_dify_key(tmp_path, None, {}) is None
    assert not any(tmp_path.iterdir())
    development, is_development = default_dify_key(tmp_path, None, {}, report=silent)
    assert is_development
    assert development.public.bits == 4096
    user = new_dify_key(signing_path(tmp_path), bits=2048)

    def fingerprint(explicit: Path | None, env: Mapping[str, str]) -> tuple[str, bool]:
        found = find_dify_key(tmp_path, explicit, env)
        assert found is not None
        return found[0].public.fingerprint, found[1]

    assert fingerprint(None, {}) == (user.public.fingerprint, False)
    assert fingerprint(None, {"EDGEC_DIFY_KEY": str(acme.private)}) == (acme.key.public.fingerprint, False)
    assert fingerprint(other.private, {"EDGEC_DIFY_KEY": str(acme.private)})[0] == other.key.public.fingerprint
    # Naming the development key makes it no better.
    named = {"EDGEC_DIFY_KEY": str(tmp_path / "dify" / "development.private.pem")}
    assert fingerprint(None, named) == (development.public.fingerprint, True)
    assert {k.fingerprint for k in own_public_keys(tmp_path)} == {
        user.public.fingerprint,
        development.public.fingerprint,
    }


def test_a_development_key_is_announced(tmp_path: Path) -> None:
    notes: list[Event] = []
    default_dify_key(tmp_path, None, {}, report=notes.append)
    (note,) = notes
    assert isinstance(note, Note)
    assert "edgec dify keygen" in note.message
