"""A bundle in words: the text `verify` and `inspect` show.

Rule: it says what was not verified as plainly as what was; control characters from a bundle never reach a terminal.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from edgec.bundle.inspection import Inspection
from edgec.bundle.manifest import Manifest
from edgec.bundle.verify import Verification

_FORMS = {"layout": "OCI image layout", "archive": "archive of an OCI image layout", "folder": "unpacked folder"}
_TRUST = {"given": "the key you named", "own": "this machine's own key", "trusted": "a trusted key"}


def verification_text(result: Verification) -> str:
    """What was verified, for a person."""
    signer = result.signer
    named = f" `{signer.name}`" if signer.name else ""
    lines = [
        f"verified: {_title(result.manifest)}",
        f"  {_FORMS[result.form]}: {result.files} files, {_size(result.size_bytes)}, all as signed",
        f"  signed with {_TRUST[signer.trust]}{named} ({signer.fingerprint})",
    ]
    if result.manifest.development_key:
        lines.append("  this is a development key: others will not accept the bundle")
    if result.digest:
        lines.append(f"  digest {result.digest}")
    return _clean([*lines, *_proof_lines(result.manifest)])


def verification_json(result: Verification) -> dict[str, Any]:
    """The same as a JSON object."""
    manifest = result.manifest
    return {
        "path": str(result.path),
        "form": result.form,
        "verified": True,
        "name": manifest.name,
        "version": manifest.version,
        "target": manifest.target.get("name"),
        "digest": result.digest,
        "signer": {
            "fingerprint": result.signer.fingerprint,
            "trust": result.signer.trust,
            "name": result.signer.name,
            "development": manifest.development_key,
        },
        "files": result.files,
        "size_bytes": result.size_bytes,
        "not_verified": [n.model_dump(mode="json") for n in manifest.not_verified],
    }


def inspection_text(found: Inspection) -> str:
    """What a bundle says of itself, for a person."""
    manifest = found.manifest
    lines = [_title(manifest)]
    if manifest.description:
        lines.append(f"  {manifest.description}")
    lines.append(f"  {_FORMS[found.form]}, {_size(found.size_bytes)}")
    if found.digest:
        lines.append(f"  digest   {found.digest}")
    lines.append(
        f"  source   {manifest.source.uri}" + (f" @ {manifest.source.revision}" * bool(manifest.source.revision))
    )
    lines.append(f"  licence  {manifest.licence or 'not stated'}")
    known = f" (known here as `{found.known_as}`)" if found.known_as else ""
    lines.append(f"  signer   {found.signer or 'none: the bundle is not signed'}{known}")
    lines += ["", "files"]
    lines += [f"  {_size(f.size_bytes):>10}  {f.path}" for f in manifest.files]
    lines += ["", *_proof_lines(manifest), "", "Nothing was verified; run `edgec verify` for that."]
    return _clean(lines)


def _proof_lines(manifest: Manifest) -> list[str]:
    lines = [] if manifest.proofs else ["  nothing was proven about its artifacts"]
    for proof in manifest.proofs:
        lines.append(f"  proof of {proof.artifact} on {proof.runtime}:")
        for c in proof.checks:
            verdict = "pass" if c.passed else "FAIL"
            lines.append(f"    {verdict}  {c.as_text()}")
    lines += [f"  not verified: {n.what}: {n.why}" for n in manifest.not_verified]
    return lines


def _title(manifest: Manifest) -> str:
    return f"{manifest.name} {manifest.version} for {manifest.target.get('name', 'an unnamed target')}"


def _size(size_bytes: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


def _clean(lines: list[str]) -> str:
    # An unverified bundle must not be able to write escape sequences to the terminal.
    return "\n".join(
        "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in x) for x in lines
    )
