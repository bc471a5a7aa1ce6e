"""Whatever is done to a bundle, in whichever form, it does not verify any more."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_case import PROOF, Bundle, derived_key, make_bundle, make_content
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.bundle.keyfile import PublicKey, SigningKey
from edgec.bundle.keyring import TrustedKey
from edgec.bundle.verify import verify_bundle
from edgec.bundle.write import write_bundle
from edgec.documents.canonical import canonical_json
from edgec.errors import ExitCode, InputError, ProofError
from edgec.events import silent

Copy = Callable[[Path], Path]


def refused(path: Path, key: PublicKey, says: str) -> None:
    with pytest.raises(ProofError) as caught:
        verify_bundle(path, public_key=key)
    assert says in str(caught.value)
    assert all(d.hint and d.place for d in caught.value.diagnostics)
    assert caught.value.exit_code == ExitCode.PROOF


def blob(layout: Path, path: str) -> Path:
    (image,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads((layout / "blobs/sha256" / image["digest"][7:]).read_bytes())
    (layer,) = [x for x in manifest["layers"] if x["annotations"]["org.cncf.model.filepath"] == path]
    return layout / "blobs/sha256" / layer["digest"][7:]


def test_every_form_verifies(bundle: Bundle) -> None:
    results = {
        p.name: verify_bundle(p, public_key=bundle.public) for p in (bundle.layout, bundle.archive, bundle.folder)
    }
    assert {r.form for r in results.values()} == {"layout", "archive", "folder"}
    assert results["bundle"].digest == results["bundle.tar"].digest == bundle.info.digest
    assert results["unpacked"].digest is None
    assert all(r.files == 7 and r.manifest.name == "docs-llama" for r in results.values())
    assert [n.what for n in results["unpacked"].manifest.not_verified] == ["speed on the device"]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), form=st.sampled_from(["layout", "folder", "archive"]))
def test_any_changed_byte_is_refused(bundle: Bundle, data: st.DataObject, form: str) -> None:
    root: Path = getattr(bundle, form)
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    file = data.draw(st.sampled_from(files), label="file")
    original = file.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1), label="position")
    changed = bytearray(original)
    changed[position] ^= data.draw(st.integers(1, 255), label="flip")
    _overwrite(file, bytes(changed))
    try:
        with pytest.raises(ProofError):
            verify_bundle(root, public_key=bundle.public)
    finally:
        _overwrite(file, original)


def test_every_byte_of_every_small_unsigned_file_matters(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    for name in ("index.json", "oci-layout"):
        file = layout / name
        original = file.read_bytes()
        for position in range(len(original)):
            changed = bytearray(original)
            changed[position] ^= 1
            file.write_bytes(changed)
            with pytest.raises(ProofError):
                verify_bundle(layout, public_key=bundle.public)
        file.write_bytes(original)
    verify_bundle(layout, public_key=bundle.public)


def _overwrite(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["extra.txt", ".git/hook.py", ".gitattributes", "gguf/.hidden", "a/b/c"])
def test_an_extra_file_is_refused(bundle: Bundle, copy_of: Copy, name: str) -> None:
    for root in (copy_of(bundle.layout), copy_of(bundle.folder)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("planted")
        refused(root, bundle.public, name)


def test_an_extra_blob_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    (layout / "blobs/sha256" / ("0" * 64)).write_bytes(b"planted")
    refused(layout, bundle.public, "does not belong")


@pytest.mark.parametrize("name", ["README.md", "gguf/model-q4_0.gguf", "edgec-manifest.json", "provenance.json"])
def test_a_missing_file_is_refused(bundle: Bundle, copy_of: Copy, name: str) -> None:
    folder, layout = copy_of(bundle.folder), copy_of(bundle.layout)
    (folder / name).unlink()
    if name.startswith("gguf"):
        (folder / "gguf").rmdir()
    refused(folder, bundle.public, "missing")
    blob(layout, name).unlink()
    refused(layout, bundle.public, "missing")


def test_a_renamed_file_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    (folder / "config.json").rename(folder / "config2.json")
    refused(folder, bundle.public, "'config2.json' is not signed")


def test_letter_case_cannot_be_changed(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    (folder / "config.json").rename(folder / "CONFIG.json")
    refused(folder, bundle.public, "not signed")
    shutil.copy(bundle.folder / "config.json", folder)
    refused(folder, bundle.public, "letter case does not count")


def test_an_unsigned_bundle_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    (folder / "model.sig").unlink()
    refused(folder, bundle.public, "`model.sig` is missing")


def test_the_signature_of_another_bundle_is_refused(bundle: Bundle, copy_of: Copy, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", bundle.key, version="1.2.4")
    folder = copy_of(bundle.folder)
    shutil.copy(other.folder / "model.sig", folder / "model.sig")
    refused(folder, bundle.public, "was changed after it was signed")


def test_an_older_manifest_under_the_same_signature_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    manifest["proofs"][0]["checks"][0]["measured"] = 0.0001
    (folder / "edgec-manifest.json").write_text(json.dumps(manifest))
    refused(folder, bundle.public, "`edgec-manifest.json` was changed after it was signed")


def test_links_special_files_and_empty_folders_are_refused(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(bundle.folder / "config.json")
    refused(folder, bundle.public, "symbolic link")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused(folder, bundle.public, "special file")
    (folder / "config.json").unlink()
    shutil.copy(bundle.folder / "config.json", folder)
    verify_bundle(folder, public_key=bundle.public)
    (folder / "nothing").mkdir()
    refused(folder, bundle.public, "empty")
    (folder / "nothing").rmdir()
    (folder / "link").symlink_to(bundle.folder, target_is_directory=True)
    refused(folder, bundle.public, "symbolic link")


def test_a_linked_blob_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    victim = blob(layout, "README.md")
    victim.unlink()
    victim.symlink_to(blob(bundle.layout, "README.md"))
    refused(layout, bundle.public, "symbolic link")


def test_a_wrong_size_is_refused_before_anything_is_hashed(bundle: Bundle, copy_of: Copy) -> None:
    layout, folder = copy_of(bundle.layout), copy_of(bundle.folder)
    with blob(layout, "gguf/model-q4_0.gguf").open("ab") as file:
        file.write(b"more")
    refused(layout, bundle.public, "bytes instead of")
    with (folder / "gguf/model-q4_0.gguf").open("r+b") as file:
        file.truncate(100)
    refused(folder, bundle.public, "has 100 bytes instead of 10240")


def test_a_name_that_is_not_utf8_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).write_bytes(b"")
    refused(folder, bundle.public, "not UTF-8")


def test_another_key_is_refused(bundle: Bundle) -> None:
    refused(bundle.layout, derived_key(7).public, "not with sha256:")


def test_a_bundle_re_signed_by_a_stranger_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    stranger = make_bundle(tmp_path, derived_key(7))
    refused(stranger.layout, bundle.public, "signed with the key")
    with pytest.raises(ProofError, match="unknown key"):
        verify_bundle(stranger.layout, public_key=None)


def test_a_forged_hint_does_not_help(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    other = derived_key(7).public
    signature = json.loads((folder / "model.sig").read_bytes())
    signature["verificationMaterial"]["publicKey"]["hint"] = other.fingerprint.removeprefix("sha256:")
    (folder / "model.sig").write_bytes(canonical_json(signature))
    refused(folder, other, "does not match what it signs")


def _trusted(key: SigningKey, *, own: bool) -> tuple[TrustedKey, ...]:
    return (TrustedKey("someone", key.public, Path("someone.pub"), own),)


def test_a_trusted_key_is_accepted_without_naming_it(bundle: Bundle) -> None:
    for own, trust in ((True, "own"), (False, "trusted")):
        result = verify_bundle(bundle.layout, public_key=None, trusted=_trusted(bundle.key, own=own))
        assert (result.signer.trust, result.signer.name) == (trust, "someone")


def test_a_development_key_is_only_good_at_home(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, derived_key(9), development_key=True)
    verify_bundle(made.layout, public_key=None, trusted=_trusted(made.key, own=True))
    verify_bundle(made.layout, public_key=made.public, accept_development_key=True)
    refused(made.layout, made.public, "development key of another machine")
    with pytest.raises(ProofError, match="development key"):
        verify_bundle(made.layout, public_key=None, trusted=_trusted(made.key, own=False))


def test_a_failed_proof_is_refused_however_well_signed(tmp_path: Path) -> None:
    check = {"name": "top-1", "measured": 0.2, "threshold": 0.9, "relation": ">=", "unit": "", "passed": False}
    key = derived_key(9)
    with pytest.raises(ProofError, match=r"proof of x failed: top-1 is 0.2 instead of >= 0.9"):
        make_bundle(tmp_path, key, proofs=({"artifact": "x", "runtime": "r", "checks": [check]},))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"proofs": ()}, "nothing was proven about gguf-q4_0"),
        ({"proofs": ({**PROOF, "artifact": "another"},)}, "nothing was proven about gguf-q4_0"),
        ({"proofs": ({**PROOF, "checks": []},)}, "nothing was proven about gguf-q4_0"),
        ({"artifacts": ()}, "`gguf/model-q4_0.gguf` belongs to no proven artifact"),
    ],
)
def test_what_was_not_proven_is_refused_however_well_signed(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    key = derived_key(9)
    write_bundle(make_content(tmp_path / "in", **changes), tmp_path / "out", key=key, report=silent)
    refused(tmp_path / "out", key.public, says)


def test_what_is_no_bundle_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("some text that is no archive" * 100)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing", tmp_path / "folder"):
        with pytest.raises(InputError):
            verify_bundle(path, public_key=None)
    with pytest.raises(ProofError, match="cut off or damaged"):
        verify_bundle(tmp_path / "file", public_key=None)
