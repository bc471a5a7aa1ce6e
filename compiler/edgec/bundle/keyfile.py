"""Key files: EC keys in PEM, made, loaded and named by their fingerprint.

Rule: a private key is never overwritten, and never readable by others when we made it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from edgec.errors import Diagnostic, InputError, ToolError
from edgec.events import Note, Reporter, silent
from edgec.store.atomic import explain, write_new

# The curves `model_signing` accepts, with the hash the Sigstore specification ties to each.
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
# The orders of these curves' groups (SEC 2, version 2).
_ORDERS: dict[str, int] = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    "secp521r1": int("1" + "F" * 64 + "FA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
_MAX_PEM_BYTES = 64 << 10
PASSWORD_VARIABLE = "EDGEC_SIGNING_KEY_PASSWORD"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True)
class PublicKey:
    """An EC public key that verifies bundles."""

    key: ec.EllipticCurvePublicKey

    @property
    def pem(self) -> bytes:
        """The key as PEM (SubjectPublicKeyInfo)."""
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` of the PEM text, as OpenSSF Model Signing names keys."""
        return "sha256:" + hashlib.sha256(self.pem).hexdigest()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (DER) is this key's over `data`."""
        try:
            self.key.verify(signature, data, ec.ECDSA(_HASHES[self.key.curve.name]()))
        except InvalidSignature:
            return False
        return True

    def is_low(self, signature: bytes) -> bool:
        """Whether `signature` is the lower of the two, (r, s) and (r, n - s), that verify alike."""
        return signature == _lower(signature, self.key.curve)


@dataclass(frozen=True)
class SigningKey:
    """An EC private key. Signing is deterministic (RFC 6979, low s): the same data gives the same signature."""

    private: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return PublicKey(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        """The DER signature over `data`. Raises ToolError where OpenSSL is too old to sign deterministically."""
        algorithm = _HASHES[self.private.curve.name]()
        try:
            signature = self.private.sign(data, ec.ECDSA(algorithm, deterministic_signing=True))
        except UnsupportedAlgorithm:
            raise ToolError(
                Diagnostic(
                    "this machine's OpenSSL cannot make deterministic ECDSA signatures",
                    hint="install the `cryptography` wheel from PyPI, which brings OpenSSL 3.2 or newer",
                )
            ) from None
        return _lower(signature, self.private.curve)


def _lower(signature: bytes, curve: ec.EllipticCurve) -> bytes:
    """The signature with the smaller s. Anybody can turn (r, s) into (r, n - s): only one of them is accepted."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _ORDERS[curve.name] - s))


def public_path(private_path: Path) -> Path:
    """Where the public half of `private_path` stands: `release.key` has `release.pub`."""
    if private_path.suffix in {".key", ".pem"}:
        return private_path.with_suffix(".pub")
    return private_path.with_name(private_path.name + ".pub")


def new_key(path: Path, *, password: bytes | None = None) -> SigningKey:
    """Makes a P-256 key at `path` (PEM PKCS#8, mode 0600) and its public half beside it.

    Raises InputError when either file exists already: a key is never overwritten.
    """
    public = public_path(path)
    for existing in (path, public):
        if existing.exists() or existing.is_symlink():
            raise InputError(
                Diagnostic(
                    "a key stands there already; it is not overwritten",
                    place=str(existing),
                    hint="choose another path, or move the old key away",
                )
            )
    key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem = key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_new(path, pem, 0o600)
        write_new(public, key.public.pem, 0o644)
    except FileExistsError as error:
        raise InputError(
            Diagnostic(
                "a key appeared there meanwhile; it is not overwritten",
                place=str(error.filename2 or error.filename),
                hint="choose another path",
            )
        ) from None
    except OSError as error:
        raise explain(error, path) from error
    return key


def load_signing_key(path: Path, *, password: bytes | None = None, report: Reporter = silent) -> SigningKey:
    """The private key in `path`; `password` opens an encrypted one. Raises InputError that says what the file holds."""
    pem = _read_pem(path)
    if b"PUBLIC KEY" in pem:
        raise _wrong(path, "this is a public key; signing needs the private one", "name the `.key` file instead")
    encrypted = b"ENCRYPTED" in pem
    if encrypted and password is None:
        raise _wrong(path, "the key is encrypted", f"set {PASSWORD_VARIABLE} in the environment")
    try:
        key = serialization.load_pem_private_key(pem, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            hint = f"correct {PASSWORD_VARIABLE}"
            raise _wrong(path, "the key cannot be opened with this password", hint) from None
        raise _wrong(path, "this is not a PEM private key", "make one with `edgec keys new`") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise _wrong(path, _unsupported(key), "make one with `edgec keys new`")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        report(Note(f"the signing key {path} can be read by others; run `chmod 600 {path}`", "warning"))
    return SigningKey(key)


def load_public_key(path: Path) -> PublicKey:
    """The public key in `path`. Raises InputError that says what the file holds."""
    pem = _read_pem(path)
    if b"PRIVATE KEY" in pem:
        raise _wrong(path, "this is a private key; verifying needs the public one", "name the `.pub` file instead")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong(path, "this is not a PEM public key", "ask the publisher for their `.pub` file") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise _wrong(path, _unsupported(key), "bundles are signed with EC P-256, P-384 or P-521 keys")
    return PublicKey(key)


def _read_pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_PEM_BYTES + 1)
    except FileNotFoundError:
        raise _wrong(path, "no such key", "name an existing PEM file, or make one with `edgec keys new`") from None
    except OSError as error:
        raise _wrong(path, f"the key cannot be read: {error.strerror}", "check the path and its permissions") from None
    if len(pem) > _MAX_PEM_BYTES:
        raise _wrong(path, "the file is too large for a PEM key", "name a PEM file that holds one key")
    return pem


def _unsupported(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"an EC key on the curve {key.curve.name} cannot be used; P-256, P-384 and P-521 can"
    kind = type(key).__name__.replace("PrivateKey", "").replace("PublicKey", "").strip("_")
    return f"this is a key of the kind {kind}; Model Signing uses EC P-256, P-384 or P-521"


def _wrong(path: Path, message: str, hint: str) -> InputError:
    return InputError(Diagnostic(message, place=str(path), hint=hint))
