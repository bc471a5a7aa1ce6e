"""Dify's signature of a package: RSASSA-PKCS1-v1_5 with SHA-256 over its files' digests and a time.

Rule: as Dify's daemon computes it, to the byte. It covers the contents and their order but NOT the files' names; the
unique identifier covers names as well, which is why a verification always tells it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from edgec.deploy.dify.identity import Identity, identity_of
from edgec.deploy.dify.keys import DifyPublicKey, DifySigningKey
from edgec.deploy.dify.package import PluginPackage
from edgec.errors import InputError, ProofError

VERIFICATION_FILE = ".verification.dify.json"
# What Dify calls plugins that are neither its own nor a partner's.
_VERIFICATION = b'{"authorized_category":"community"}'
# 2025-01-01: the time of every package, unless SOURCE_DATE_EPOCH says otherwise.
FIXED_UNIX_S = 1_735_689_600
NAMES_NOT_COVERED = (
    "Dify's signature covers the contents of the files, not their names: "
    "compare the unique identifier, which covers both"
)


@dataclass(frozen=True)
class Verified:
    """A package whose signature is good: who it is, and the key that signed it."""

    identity: Identity
    unique_id: str
    key: DifyPublicKey
    signed_unix_s: int
    size_bytes: int


def signing_time(env: Mapping[str, str]) -> int:
    """The time a signature names, in seconds since 1970: SOURCE_DATE_EPOCH, else a fixed one. Raises InputError."""
    text = env.get("SOURCE_DATE_EPOCH")
    if not text:
        return FIXED_UNIX_S
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 40:
        raise InputError.of(
            "SOURCE_DATE_EPOCH is not a number of seconds since 1970", hint="correct it, or unset it", place=text
        )
    return int(text)


def sign_package(package: PluginPackage, key: DifySigningKey, *, unix_s: int = FIXED_UNIX_S) -> PluginPackage:
    """The package with Dify's mark as its last file and the signature as its comment; an older one is replaced."""
    kept = tuple((name, content) for name, content in package.files if name != VERIFICATION_FILE)
    files = (*kept, (VERIFICATION_FILE, _VERIFICATION))
    signature = base64.b64encode(key.sign(_signed_data(files, unix_s))).decode()
    comment = json.dumps({"signature": signature, "time": unix_s}, separators=(",", ":"))
    return PluginPackage(files, comment.encode())


def unsigned(package: PluginPackage) -> PluginPackage:
    """The package as it was before it was signed."""
    return PluginPackage(tuple(f for f in package.files if f[0] != VERIFICATION_FILE))


def is_signed(package: PluginPackage) -> bool:
    """Whether the package says that somebody signed it."""
    return bool(package.comment.strip())


def has_signature(package: PluginPackage) -> bool:
    """Whether the package's comment is a signature as Dify writes it, whoever made it."""
    try:
        _read_comment(package, None)
    except ProofError:
        return False
    return True


def unique_id(package: PluginPackage, *, place: str | None = None) -> str:
    """`author/name:version@checksum`, by which Dify knows this very package. Raises InputError."""
    return f"{identity_of(package, place=place)}@{package.checksum}"


def verify_package(
    package: PluginPackage,
    keys: Iterable[DifyPublicKey],
    *,
    expected_unique_id: str | None = None,
    place: str | None = None,
) -> Verified:
    """Who signed the package, of `keys`. Raises ProofError when none of them did, or when it is another package."""
    signature, unix_s = _read_comment(package, place)
    data = _signed_data(package.files, unix_s)
    signer = next((key for key in keys if key.verifies(signature, data)), None)
    if signer is None:
        raise ProofError.of(
            "no accepted key made this signature, or a file was changed since",
            hint="give the publisher's public key with --key, or get the package again",
            place=place,
        )
    found = unique_id(package, place=place)
    if expected_unique_id is not None and found != expected_unique_id:
        raise ProofError.of(
            f"the package is {found}, not {expected_unique_id}",
            hint="a file was renamed, or this is another package: get it again",
            place=place,
        )
    return Verified(identity_of(package, place=place), found, signer, unix_s, package.size_bytes)


def _signed_data(files: Iterable[tuple[str, bytes]], unix_s: int) -> bytes:
    return b"".join(sha256(content).digest() for _, content in files) + str(unix_s).encode()


def _read_comment(package: PluginPackage, place: str | None) -> tuple[bytes, int]:
    if not is_signed(package):
        raise ProofError.of(
            "the package is not signed", hint="sign it with `edgec dify sign`, or get a signed one", place=place
        )
    try:
        comment: Any = json.loads(package.comment)
        signature = base64.b64decode(comment["signature"], validate=True)
        unix_s = comment["time"]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise _no_signature(place) from error
    if not isinstance(unix_s, int) or isinstance(unix_s, bool):
        raise _no_signature(place)
    return signature, unix_s


def _no_signature(place: str | None) -> ProofError:
    return ProofError.of("the package's comment is not Dify's signature", hint="get the package again", place=place)
