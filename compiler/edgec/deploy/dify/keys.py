"""Dify's key files: RSA in PKCS#1 PEM, the only form its daemon reads.

Rule: a private key is never overwritten and never readable by others when we made it; a key in another form is refused
with the command that converts it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from edgec.errors import Diagnostic, InputError
from edgec.events import Note, Reporter, silent
from edgec.store.atomic import explain, write_new

DEFAULT_BITS = 4096
SIZES_BITS = (2048, 3072, 4096)
_SMALLEST_BITS = 2048
_MAX_PEM_BYTES = 64 << 10
_PRIVATE = "RSA PRIVATE KEY"
_PUBLIC = "RSA PUBLIC KEY"
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_ONE_BLOCK = re.compile(r"\s*-----BEGIN ([A-Z0-9 ]+)-----\n[^-]*-----END \1-----\s*")
_MAKE = "make one with `edgec dify keygen`"
_ASK = "ask the publisher for the public key in PKCS#1, which begins with `-----BEGIN RSA PUBLIC KEY-----`"
# Signed to see whether a private key works.
_PROBE = b"edgec"


@dataclass(frozen=True)
class DifyPublicKey:
    """An RSA public key that verifies packages."""

    key: rsa.RSAPublicKey

    @property
    def pem(self) -> bytes:
        """The key as PKCS#1 PEM, as Dify's daemon reads it."""
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` of the key's PKCS#1 DER."""
        der = self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
        return "sha256:" + hashlib.sha256(der).hexdigest()

    @property
    def bits(self) -> int:
        """The length of the modulus."""
        return self.key.key_size

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's over `data`."""
        try:
            self.key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class DifySigningKey:
    """An RSA private key. This kind of signature has no chance in it: the same data gives the same bytes."""

    private: rsa.RSAPrivateKey

    @property
    def public(self) -> DifyPublicKey:
        """The key that verifies what this one signs."""
        return DifyPublicKey(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`, as long as the modulus."""
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())


def public_path(private_path: Path) -> Path:
    """Where the public half of `private_path` stands: `acme.private.pem` has `acme.public.pem`, as with Dify."""
    name = private_path.name.removesuffix(".pem").removesuffix(".private")
    return private_path.with_name(f"{name}.public.pem")


def new_dify_key(path: Path, *, bits: int = DEFAULT_BITS) -> DifySigningKey:
    """Makes a key at `path` (PKCS#1 PEM, mode 0600) and its public half beside it.

    Raises InputError when either file exists already (a key is never overwritten), or when `path` is a folder.
    """
    if path.is_dir():
        raise _wrong(path, "this is a folder", f"name a file in it: {shlex.quote(str(path / 'dify.private.pem'))}")
    public = public_path(path)
    for existing in (path, public):
        if existing.exists() or existing.is_symlink():
            raise _wrong(
                existing, "a file stands there already; it is not overwritten", "choose another path, or move it away"
            )
    key = DifySigningKey(rsa.generate_private_key(public_exponent=65537, key_size=bits))
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_new(path, pem, 0o600)
        write_new(public, key.public.pem, 0o644)
    except FileExistsError as error:
        place = Path(error.filename2 or error.filename)
        raise _wrong(place, "a file appeared there meanwhile; it is not overwritten", "choose another path") from None
    except OSError as error:
        raise explain(error, path) from error
    return key


def load_dify_key(path: Path, *, report: Reporter = silent) -> DifySigningKey:
    """The private key in `path`. Raises InputError that says what the file holds and how to convert it."""
    pem = _read_pem(path, _PRIVATE)
    try:
        # OpenSSL's own check looks for primes in 0.25 s, of every build; a signature that verifies shows as much.
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong(path, "this is not a whole PEM private key", _MAKE) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _wrong(path, "this is not an RSA key", _MAKE)
    _refuse_short(key.key_size, path, _MAKE)
    if not _signs(DifySigningKey(key)):
        raise _wrong(path, "the numbers in this key do not belong together: what it signs does not verify", _MAKE)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        report(Note(f"the Dify key {path} can be read by others; run `chmod 600 {path}`", "warning"))
    return DifySigningKey(key)


def _signs(key: DifySigningKey) -> bool:
    """Whether a signature verifies. A private key whose numbers are wrong cannot make one."""
    try:
        return key.public.verifies(key.sign(_PROBE), _PROBE)
    except ValueError:
        return False


def load_dify_public_key(path: Path) -> DifyPublicKey:
    """The public key in `path`. Raises InputError that says what the file holds and how to convert it."""
    pem = _read_pem(path, _PUBLIC)
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong(path, "this is not a whole PEM public key", _ASK) from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise _wrong(path, "this is not an RSA key", _ASK)
    _refuse_short(key.key_size, path, _ASK)
    return DifyPublicKey(key)


def _read_pem(path: Path, wanted: str) -> bytes:
    get = _get(wanted)
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_PEM_BYTES + 1)
    except FileNotFoundError:
        raise _wrong(path, "no such key", f"name an existing PEM file, or {get}") from None
    except OSError as error:
        raise _wrong(path, f"the key cannot be read: {error.strerror}", "check the path and its permissions") from None
    text = pem.decode("ascii", "replace").replace("\r\n", "\n")
    begin = _BEGIN.search(text)
    if begin is None or len(pem) > _MAX_PEM_BYTES:
        raise _wrong(path, "this is not a PEM key", f"name a PEM file that holds one RSA key in PKCS#1, or {get}")
    label = begin[1]
    if label != wanted or "ENCRYPTED" in text:
        raise _other_form(path, label, wanted, is_encrypted="ENCRYPTED" in text)
    if not _ONE_BLOCK.fullmatch(text):
        raise _wrong(
            path,
            "the file holds other things than one whole key",
            "keep one block from BEGIN to END; Dify refuses more",
        )
    return pem


def _other_form(path: Path, label: str, wanted: str, *, is_encrypted: bool) -> InputError:
    """What the file holds instead of the wanted block, and what to do about it."""
    file = shlex.quote(str(path))
    private_to_pkcs1 = f"convert it: openssl rsa -in {file} -traditional -out dify.private.pem"
    public_to_pkcs1 = f"convert it: openssl rsa -pubin -in {file} -RSAPublicKey_out -out dify.public.pem"
    wants_private = wanted == _PRIVATE
    if wants_private and "PUBLIC" in label:
        return _wrong(path, "this is a public key; signing needs the private one", "name the `.private.pem` file")
    if not wants_private and "PRIVATE" in label:
        return _wrong(path, "this is a private key; verifying needs the public one", "name the `.public.pem` file")
    if label.startswith("EC ") or (kind := _kind_of(path)) not in ("RSA", None):
        kind = "EC" if label.startswith("EC ") else kind
        return _wrong(path, f"this is a key of the kind {kind}; Dify takes RSA only", _get(wanted))
    if is_encrypted:
        return _wrong(path, "the key is encrypted; Dify's form of a key has no password", private_to_pkcs1)
    if label == "OPENSSH PRIVATE KEY":
        hint = f"convert a copy of it: ssh-keygen -p -N '' -m PEM -f {file}"
        return _wrong(path, "this is a key in OpenSSH's form; Dify takes PKCS#1 only", hint)
    if label in ("PRIVATE KEY", "PUBLIC KEY"):
        form = "PKCS#8" if wants_private else "SubjectPublicKeyInfo"
        hint = private_to_pkcs1 if wants_private else public_to_pkcs1
        return _wrong(path, f"this key is in the form {form}; Dify takes PKCS#1 only", hint)
    return _wrong(path, f"this is a PEM file with {label}, not {wanted}", _get(wanted))


def _kind_of(path: Path) -> str | None:
    """RSA, EC, Ed25519, ...; None when the file does not say it openly."""
    pem = path.read_bytes()
    for load in (lambda: serialization.load_pem_private_key(pem, None), lambda: serialization.load_pem_public_key(pem)):
        try:
            key: object = load()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        name = type(key).__name__.replace("PrivateKey", "").replace("PublicKey", "").strip("_")
        return {"EllipticCurve": "EC"}.get(name, name)
    return None


def _get(wanted: str) -> str:
    """How to come by a good key: one's own is made, that of another is asked for."""
    return _MAKE if wanted == _PRIVATE else _ASK


def _refuse_short(bits: int, path: Path, hint: str) -> None:
    if bits < _SMALLEST_BITS:
        raise _wrong(path, f"an RSA key of {bits} bits is too short to be safe", hint)


def _wrong(path: Path, message: str, hint: str) -> InputError:
    return InputError(Diagnostic(message, place=str(path), hint=hint))
