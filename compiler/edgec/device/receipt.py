"""`receipt.json`: what a device says about the engine it built, signed with its own key.

Rule: an in-toto statement in a DSSE envelope (a Sigstore bundle, as the signature of a bundle is); the subjects are the
engine's files. The same facts and key give the same bytes. What a stand-in built is no engine, and the receipt says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgec.bundle.finalize_plan import Backend, Limits
from edgec.bundle.keyfile import PublicKey, SigningKey
from edgec.bundle.signing import sign_payload, signed_payload, signer_fingerprint
from edgec.bundle.strict_json import parse_object, refuse
from edgec.device.facts import DeviceFacts
from edgec.documents.canonical import canonical_json
from edgec.errors import InputError
from edgec.prove.model import Check, NotVerified

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:edgec:receipt:v1"
STAND_IN_NOTE = "engine built by a stand-in; not an engine"
_HINT = "the receipt was changed or damaged; finalize the bundle again on the device"
_MAX_BYTES = 16 << 20


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BundleName(_Doc):
    """The bundle that was finalized. `digest`: of its image manifest, null for an unpacked folder."""

    name: str
    version: str
    digest: str | None
    manifest_digest: str
    signer: str


class EngineFile(_Doc):
    """A file of the engine."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class StandIn(_Doc):
    """The script that stood in for the vendor's programs."""

    note: Literal["engine built by a stand-in; not an engine"] = "engine built by a stand-in; not an engine"
    script_digest: str


class BuildRecord(_Doc):
    """The build. `oom_kills`: processes that the kernel ended meanwhile, null where it does not tell."""

    command: tuple[str, ...]
    wall_s: float
    oom_kills: int | None


class ProofRecord(_Doc):
    """The proof."""

    runtime: str
    reference_digest: str
    checks: tuple[Check, ...] = Field(min_length=1)
    not_verified: tuple[NotVerified, ...]


class Receipt(_Doc):
    """The predicate `edgec/receipt/v1`. Times are UTC, ISO 8601."""

    schema_: Literal["edgec/receipt/v1"] = Field("edgec/receipt/v1", alias="schema")
    bundle: BundleName
    artifact: str
    backend: Backend
    tensorrt: str | None
    device: DeviceFacts
    limits: Limits
    stand_in: StandIn | None
    build: BuildRecord
    engine: dict[str, EngineFile] = Field(min_length=1)
    proof: ProofRecord
    edgec: str
    started: str
    finished: str

    @property
    def subjects(self) -> list[dict[str, Any]]:
        """The engine's files as in-toto names them."""
        return [
            {"name": name, "digest": {"sha256": file.digest.removeprefix("sha256:")}}
            for name, file in sorted(self.engine.items())
        ]

    def sign(self, key: SigningKey) -> bytes:
        """The content of `receipt.json`."""
        statement: dict[str, Any] = {
            "_type": STATEMENT_TYPE,
            "predicateType": PREDICATE_TYPE,
            "predicate": self.model_dump(mode="json", by_alias=True),
            "subject": self.subjects,
        }
        return sign_payload(canonical_json(statement), key)


def read_receipt_file(path: Path) -> bytes:
    """The bytes of a receipt. Raises InputError."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        hint = "name the receipt.json of a finalized engine"
        raise InputError.of(f"cannot be read: {error.strerror}", place=str(path), hint=hint) from None


def receipt_signer(data: bytes, place: str) -> str:
    """The fingerprint of the key that claims to have signed. Nothing is verified yet."""
    return signer_fingerprint(data, place)


def verify_receipt(data: bytes, key: PublicKey, place: str) -> Receipt:
    """The receipt that `key` signed. Raises ProofError."""
    statement = parse_object(signed_payload(data, key, place), place)
    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise refuse("what is signed is no receipt", place=place, hint="name the receipt.json of a finalized engine")
    try:
        receipt = Receipt.model_validate(statement.get("predicate"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refuse(f"{where}: {first['msg']}", place=place, hint=_HINT) from None
    if receipt.subjects != statement.get("subject"):
        raise refuse("the receipt contradicts itself about the engine's files", place=place, hint=_HINT)
    return receipt
