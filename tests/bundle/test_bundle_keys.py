"""Key files and the keyring: never overwritten, never the wrong kind, never silently trusted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from bundle_case import derived_key, write_pem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from edgec.bundle.keyfile import load_public_key, load_signing_key, new_key, public_path
from edgec.bundle.keyring import default_signing_key, trust, trusted_keys
from edgec.errors import EdgecError, InputError
from edgec.events import Event, Note

_PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
_SPKI = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_a_new_key_is_private_and_has_its_public_half_beside_it(tmp_path: Path) -> None:
    key = new_key(tmp_path / "deep" / "release.key")
    private, public = tmp_path / "deep" / "release.key", tmp_path / "deep" / "release.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_public_key(public).fingerprint == key.public.fingerprint
    assert load_signing_key(private).public.fingerprint == key.public.fingerprint
    assert sorted(p.name for p in private.parent.iterdir()) == ["release.key", "release.pub"]


@pytest.mark.parametrize("existing", ["release.key", "release.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(InputError, match="not overwritten"):
        new_key(tmp_path / "release.key")
    assert [p.name for p in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_where_the_public_half_stands() -> None:
    assert [public_path(Path(n)).name for n in ("a.key", "a.pem", "a", "a.b")] == ["a.pub", "a.pub", "a.pub", "a.b.pub"]


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    key = new_key(tmp_path / "k.key", password=b"correct horse")
    assert load_signing_key(tmp_path / "k.key", password=b"correct horse").public.pem == key.public.pem
    with pytest.raises(InputError, match="set EDGEC_SIGNING_KEY_PASSWORD"):
        load_signing_key(tmp_path / "k.key")
    with pytest.raises(InputError, match="cannot be opened with this password"):
        load_signing_key(tmp_path / "k.key", password=b"wrong")
    env = {"EDGEC_SIGNING_KEY": str(tmp_path / "k.key"), "EDGEC_SIGNING_KEY_PASSWORD": "correct horse"}
    assert default_signing_key(tmp_path / "config", None, env)[0].public.pem == key.public.pem


def test_a_password_does_not_hurt_a_plain_key(tmp_path: Path) -> None:
    private, _ = write_pem(derived_key(3), tmp_path)
    assert load_signing_key(private, password=b"x").public.pem == derived_key(3).public.pem


def test_wrong_private_keys_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "k"
    cases = {
        rsa.generate_private_key(65537, 2048).private_bytes(*_PKCS8): "kind RSA",
        ed25519.Ed25519PrivateKey.generate().private_bytes(*_PKCS8): "kind Ed25519",
        ec.generate_private_key(ec.SECP256K1()).private_bytes(*_PKCS8): "curve secp256k1",
        derived_key(3).public.pem: "this is a public key",
        b"hello": "not a PEM private key",
        b"": "not a PEM private key",
        b"x" * 100_000: "too large",
    }
    for data, says in cases.items():
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(InputError) as caught:
            load_signing_key(path)
        assert says in str(caught.value)
        assert caught.value.diagnostics[0].hint
    with pytest.raises(InputError, match="no such key"):
        load_signing_key(tmp_path / "missing")
    with pytest.raises(InputError, match="cannot be read"):
        load_signing_key(tmp_path)


def test_wrong_public_keys_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "k"
    cases = {
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(*_SPKI): "kind RSA",
        derived_key(3).private.private_bytes(*_PKCS8): "this is a private key",
        b"hello": "not a PEM public key",
    }
    for data, says in cases.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=says):
            load_public_key(path)


def test_a_key_others_can_read_is_noted(tmp_path: Path) -> None:
    private, _ = write_pem(derived_key(3), tmp_path)
    events: list[Event] = []
    load_signing_key(private, report=events.append)
    assert events == []
    private.chmod(0o644)
    load_signing_key(private, report=events.append)
    (note,) = events
    assert isinstance(note, Note)
    assert (note.level, "chmod 600" in note.message) == ("warning", True)


def test_the_order_in_which_a_signing_key_is_found(tmp_path: Path) -> None:
    config = tmp_path / "config"
    events: list[Event] = []
    development, is_development = default_signing_key(config, None, {}, report=events.append)
    assert is_development
    assert "made a development key" in str(events)
    assert default_signing_key(config, None, {})[0].public.pem == development.public.pem
    own = new_key(config / "keys" / "signing.key")
    assert default_signing_key(config, None, {}) == (_Same(own.public.pem), False)
    by_env = new_key(tmp_path / "env.key")
    env = {"EDGEC_SIGNING_KEY": str(tmp_path / "env.key")}
    assert default_signing_key(config, None, env) == (_Same(by_env.public.pem), False)
    by_recipe = new_key(tmp_path / "recipe.key")
    assert default_signing_key(config, tmp_path / "recipe.key", env) == (_Same(by_recipe.public.pem), False)


def test_naming_the_development_key_does_not_make_it_a_release_key(tmp_path: Path) -> None:
    default_signing_key(tmp_path, None, {})
    assert default_signing_key(tmp_path, tmp_path / "keys" / "development.key", {})[1]


class _Same:
    """Equals the signing key with this public half."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem

    def __eq__(self, other: object) -> bool:
        return getattr(getattr(other, "public", None), "pem", None) == self.pem

    __hash__ = None  # type: ignore[assignment]


def test_a_missing_named_key_is_not_replaced_by_another(tmp_path: Path) -> None:
    for explicit, env in ((tmp_path / "no", {}), (None, {"EDGEC_SIGNING_KEY": str(tmp_path / "no")})):
        with pytest.raises(EdgecError, match="no such key"):
            default_signing_key(tmp_path / "config", explicit, env)
    assert list(tmp_path.iterdir()) == []


def test_trust_is_given_by_hand_and_only_once(tmp_path: Path) -> None:
    config = tmp_path / "config"
    (tmp_path / "theirs").mkdir()
    _, public = write_pem(derived_key(3), tmp_path, "acme")
    _, impostor = write_pem(derived_key(4), tmp_path / "theirs", "acme")
    assert trusted_keys(config) == ()
    assert trust(config, public).name == trust(config, public).name == "acme"
    with pytest.raises(InputError, match="another key is trusted under this name"):
        trust(config, impostor)
    new_key(config / "keys" / "signing.key")
    assert [(k.name, k.own) for k in trusted_keys(config)] == [("signing", True), ("acme", False)]
