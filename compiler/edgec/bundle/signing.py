"""OpenSSF Model Signing: the statement over a set of files, in a DSSE envelope, in a Sigstore bundle (v0.3).

Rule: no IO; the same files and key give the same bytes, and the stock `model_signing verify key` accepts them. No path
is left out of the signature: what other signers ignore (`.git`) is refused here. A statement that was signed has one
`model.sig`, to the byte: the statement itself, canonical JSON or not, tells whether edgec or a stock signer made it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edgec.bundle.keyfile import PublicKey, SigningKey
from edgec.bundle.strict_json import parse_object, refuse
from edgec.documents.canonical import canonical_json

_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_HEX = re.compile(r"[0-9a-f]{64}")


def sign_files(name: str, digests: Mapping[str, str], key: SigningKey) -> bytes:
    """The content of `model.sig` over `digests` (path to `sha256:<hex>`)."""
    return sign_payload(canonical_json(_statement(name, digests)), key)


def sign_payload(payload: bytes, key: SigningKey) -> bytes:
    """A Sigstore bundle around the in-toto statement `payload`."""
    return _Envelope(key.public.fingerprint.removeprefix("sha256:"), payload, key.sign(_pae(payload))).to_bytes()


def signer_fingerprint(signature: bytes, place: str) -> str:
    """The fingerprint of the key that claims to have made `signature`. Nothing is verified yet."""
    return "sha256:" + _parse(signature, place).hint


def signed_files(signature: bytes, key: PublicKey, place: str) -> dict[str, str]:
    """Path to `sha256:<hex>` of the files `signature` vouches for.

    Raises ProofError unless `key` signed exactly this statement and the statement is one over whole files.
    """
    return _files(parse_object(signed_payload(signature, key, place), place), place)


def signed_payload(signature: bytes, key: PublicKey, place: str) -> bytes:
    """The statement in a Sigstore bundle, once `key` is known to have signed it. Raises ProofError."""
    parsed = _parse(signature, place)
    if "sha256:" + parsed.hint != key.fingerprint:
        raise refuse(
            f"signed with the key sha256:{parsed.hint}, not with {key.fingerprint}",
            place=place,
            hint="verify with the publisher's public key; if this should be it, the bundle is not theirs",
        )
    if not key.verifies(parsed.signature, _pae(parsed.payload)):
        raise refuse("the signature does not match what it signs", place=place)
    # A stock signer takes either value of s, so that nobody can tell which one it wrote.
    if parsed.is_ours and not key.is_low(parsed.signature):
        raise refuse("the signature was changed into another one that is valid too", place=place)
    return parsed.payload


def _statement(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    resources = []
    root = hashlib.sha256()
    for path in sorted(digests, key=lambda p: PurePosixPath(p).parts):
        hexadecimal = digests[path].removeprefix("sha256:")
        root.update(bytes.fromhex(hexadecimal))
        resources.append({"algorithm": "sha256", "digest": hexadecimal, "name": path})
    # The stock verifier takes this as the list of what to leave out: only the signature itself.
    serialization = {
        "allow_symlinks": False,
        "hash_type": "sha256",
        "ignore_paths": ["model.sig"],
        "method": "files",
    }
    return {
        "_type": _STATEMENT_TYPE,
        "predicate": {"resources": resources, "serialization": serialization},
        "predicateType": _PREDICATE_TYPE,
        "subject": [{"digest": {"sha256": root.hexdigest()}, "name": name}],
    }


def _files(statement: dict[str, Any], place: str) -> dict[str, str]:
    try:
        if statement["_type"] != _STATEMENT_TYPE or statement["predicateType"] != _PREDICATE_TYPE:
            raise refuse("the signature is not one over a model's files", place=place)
        serialization = statement["predicate"]["serialization"]
        if serialization["method"] != "files" or serialization["hash_type"] != "sha256":
            raise refuse("the signature is not over whole files with SHA-256", place=place, hint="sign it anew")
        files: dict[str, str] = {}
        root = hashlib.sha256()
        for resource in statement["predicate"]["resources"]:
            path, hexadecimal = resource["name"], resource["digest"]
            if resource["algorithm"] != "sha256" or not _HEX.fullmatch(hexadecimal) or path in files:
                raise refuse(f"the signature's entry for `{path}` is not usable", place=place)
            files[path] = "sha256:" + hexadecimal
            root.update(bytes.fromhex(hexadecimal))
        (subject,) = statement["subject"]
        if subject["digest"]["sha256"] != root.hexdigest():
            raise refuse("the signed statement contradicts itself", place=place)
    except (KeyError, TypeError, ValueError):
        raise refuse("the signed statement is malformed", place=place) from None
    return files


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


@dataclass(frozen=True)
class _Envelope:
    """What a Sigstore bundle signed with a plain key says. `hint`: the key's fingerprint; `signature`: DER."""

    hint: str
    payload: bytes
    signature: bytes

    @property
    def is_ours(self) -> bool:
        """Whether edgec signed: the statements of stock signers are indented JSON. Nobody can change that unseen."""
        try:
            return canonical_json(json.loads(self.payload)) == self.payload
        except (ValueError, RecursionError):
            return False

    def to_bytes(self) -> bytes:
        """The file as its maker writes it: canonical JSON, or what `model_signing` 1.1 makes of its types."""
        document = {
            "mediaType": _BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(self.signature).decode(), "keyid": ""}],
            },
        }
        return canonical_json(document) if self.is_ours else json.dumps(document, separators=(",", ":")).encode()


def _parse(signature: bytes, place: str) -> _Envelope:
    document = parse_object(signature, place)
    try:
        envelope = document["dsseEnvelope"]
        (made,) = envelope["signatures"]
        hint = document["verificationMaterial"]["publicKey"]["hint"]
        if not _HEX.fullmatch(hint):
            raise ValueError("not a fingerprint")
        parsed = _Envelope(hint, base64.b64decode(envelope["payload"]), base64.b64decode(made["sig"]))
    except (KeyError, TypeError, ValueError):
        raise refuse("not a signature made with a key (Sigstore bundle v0.3)", place=place) from None
    # Everything in the file is either signed or has one allowed value, in one spelling: there is no room for more.
    if parsed.to_bytes() != signature:
        raise refuse("not written as its signer writes it: it was changed", place=place)
    return parsed
