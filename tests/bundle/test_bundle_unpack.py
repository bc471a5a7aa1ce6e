"""Unpacking: verified while written, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_case import FILES, Bundle, derived_key

from edgec.bundle.inspection import inspect_bundle
from edgec.bundle.summary import inspection_text, verification_text
from edgec.bundle.unpack import unpack
from edgec.bundle.verify import verify_bundle
from edgec.errors import InputError, ProofError, ToolError

Copy = Callable[[Path], Path]


@pytest.mark.parametrize("form", ["layout", "archive", "folder"])
def test_every_form_unpacks_to_the_same_files(bundle: Bundle, tmp_path: Path, form: str) -> None:
    unpack(getattr(bundle, form), tmp_path / "out", public_key=bundle.public)
    assert {p: (tmp_path / "out" / p).read_bytes() for p in FILES} == {p: data for p, (_, data) in FILES.items()}
    assert verify_bundle(tmp_path / "out", public_key=bundle.public).files == 7
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_may_wait_and_anything_else_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    unpack(bundle.layout, tmp_path / "empty", public_key=bundle.public)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link"):
        with pytest.raises(InputError, match="not replaced"):
            unpack(bundle.layout, tmp_path / name, public_key=bundle.public)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_nothing_stays_of_a_bundle_that_does_not_verify(bundle: Bundle, copy_of: Copy, tmp_path: Path) -> None:
    layout = copy_of(bundle.layout)
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
    largest.write_bytes(bytes(largest.stat().st_size))
    with pytest.raises(ProofError, match="changed after it was signed"):
        unpack(layout, tmp_path / "out", public_key=bundle.public)
    with pytest.raises(ProofError, match="not with"):
        unpack(bundle.layout, tmp_path / "out", public_key=derived_key(2).public)
    assert [p.name for p in tmp_path.iterdir()] == [layout.name]


def test_a_place_that_cannot_be_written_is_a_clear_error(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((ToolError, InputError)) as caught:
        unpack(bundle.layout, tmp_path / "file" / "out", public_key=bundle.public)
    assert caught.value.diagnostics[0].hint


def test_inspection_reads_without_judging(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    (folder / "gguf/model-q4_0.gguf").write_bytes(b"anything")
    found = inspect_bundle(folder)
    assert found.signer == bundle.public.fingerprint
    text = inspection_text(found)
    assert "docs-llama 1.2.3 for pi-5-8gb" in text
    assert "Nothing was verified" in text
    assert found.as_json()["verified"] is False
    (folder / "model.sig").unlink()
    assert "not signed" in inspection_text(inspect_bundle(folder))


def test_the_summary_names_what_was_not_verified(bundle: Bundle) -> None:
    text = verification_text(verify_bundle(bundle.layout, public_key=bundle.public))
    assert "not verified: speed on the device: no such device is here" in text
    assert "pass  mean KL divergence: 0.0123 nats (must be <= 0.05)" in text
    assert bundle.info.digest in text


def test_a_hostile_description_cannot_reach_the_terminal(bundle: Bundle, copy_of: Copy) -> None:
    folder = copy_of(bundle.folder)
    manifest = folder / "edgec-manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"A small model", b"\\u001b[2JA\\u202e model"))
    text = inspection_text(inspect_bundle(folder))
    assert "\N{REPLACEMENT CHARACTER}[2JA\N{REPLACEMENT CHARACTER} model" in text
