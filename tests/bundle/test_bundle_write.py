"""Writing bundles: reproducible, checked against what was recorded, and never half there."""

from __future__ import annotations

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bundle_case import FILES, Bundle, derived_key, make_bundle, make_content

from edgec.bundle.keyfile import SigningKey
from edgec.bundle.place import place_file
from edgec.bundle.replace import clear_leftovers, scratch_folder
from edgec.bundle.verify import verify_bundle
from edgec.bundle.write import write_bundle
from edgec.documents.canonical import sha256_file
from edgec.errors import InputError, ToolError
from edgec.events import Event, Progress, silent

SMALL: dict[str, Any] = {"config.json": ("weight.config", b"{}")}


def _digests(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


def test_two_writes_are_the_same_to_the_byte(bundle: Bundle, tmp_path: Path) -> None:
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    again = make_bundle(tmp_path / "elsewhere", bundle.key)
    assert again.info.digest == bundle.info.digest
    assert _digests(again.layout) == _digests(bundle.layout)
    assert sha256_file(again.archive) == sha256_file(bundle.archive)


def test_another_key_another_digest(bundle: Bundle, tmp_path: Path) -> None:
    assert make_bundle(tmp_path, derived_key(3)).info.digest != bundle.info.digest


def test_run_time_facts_stay_outside(bundle: Bundle, tmp_path: Path) -> None:
    content = make_content(tmp_path / "input")
    facts = {"startedOn": "2026-01-01T00:00:00Z", "host": "builder-7"}
    info = write_bundle(content, tmp_path / "out", key=bundle.key, report=silent, run_facts=facts)
    assert info.digest == bundle.info.digest
    assert info.attestation == tmp_path / "out.attestation.json"
    assert info.attestation.exists()


def test_progress_counts_bytes_to_the_end(tmp_path: Path, key: SigningKey) -> None:
    events: list[Event] = []
    write_bundle(make_content(tmp_path / "in"), tmp_path / "out", key=key, report=events.append)
    progress = [e for e in events if isinstance(e, Progress)]
    total = sum(len(data) for _, data in FILES.values())
    assert (progress[0].done, progress[-1].done, progress[-1].total) == (0, total, total)


def test_equal_files_share_one_blob(tmp_path: Path, key: SigningKey) -> None:
    files: dict[str, Any] = {"a.txt": ("doc", b"same"), "b.txt": ("doc", b"same")}
    write_bundle(make_content(tmp_path / "in", files, artifacts=()), tmp_path / "out", key=key, report=silent)
    assert verify_bundle(tmp_path / "out", public_key=key.public).files == 6
    assert len(list((tmp_path / "out/blobs/sha256").iterdir())) == 7


@pytest.mark.parametrize("damage", [b"shorter", bytes(10240)])
def test_a_stored_file_that_changed_is_never_signed(tmp_path: Path, key: SigningKey, damage: bytes) -> None:
    content = make_content(tmp_path / "in")
    (tmp_path / "in/gguf/model-q4_0.gguf").write_bytes(damage)
    with pytest.raises(ToolError, match="not the one that was built"):
        write_bundle(content, tmp_path / "out", key=key, report=silent)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../up", "a part `..`"),
        ("/etc/passwd", "absolute"),
        (".git/config", "ignored by other verifiers"),
        ("Model.SIG", "twice"),
        ("gguf", "both a file and a folder"),
        ("README.MD", "twice"),
        ("GGUF/x", "differ only in case"),
    ],
)
def test_names_that_no_bundle_may_hold(tmp_path: Path, key: SigningKey, name: str, says: str) -> None:
    content = make_content(tmp_path / "in")
    first = content.files[0]
    odd = type(first)(name, first.source, first.kind, first.digest, first.size_bytes)
    content = type(content)(**{**content.__dict__, "files": (*content.files, odd)})
    with pytest.raises(InputError, match=says):
        write_bundle(content, tmp_path / "out", key=key, report=silent)


def test_a_bundle_is_replaced_and_anything_else_is_not(tmp_path: Path, key: SigningKey) -> None:
    out = tmp_path / "out"
    first = write_bundle(make_content(tmp_path / "in"), out, key=key, report=silent)
    second = write_bundle(make_content(tmp_path / "in", version="2.0.0"), out, key=key, report=silent)
    assert first.digest != second.digest == verify_bundle(out, public_key=key.public).digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.txt").write_text("years of work")
    with pytest.raises(InputError, match="not replaced"):
        write_bundle(make_content(tmp_path / "in"), precious, key=key, report=silent)
    assert (precious / "chapter1.txt").read_text() == "years of work"


def test_a_bundle_with_an_empty_folder_added_is_replaced(tmp_path: Path, key: SigningKey) -> None:
    out, content = tmp_path / "out", make_content(tmp_path / "in")
    write_bundle(content, out, key=key, report=silent)
    (out / "added").mkdir()
    (out / "blobs/added").mkdir()
    write_bundle(content, out, key=key, report=silent)
    verify_bundle(out, public_key=key.public)
    (out / "added").mkdir()
    (out / "added/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not replaced"):
        write_bundle(content, out, key=key, report=silent)
    (tmp_path / "plans/chapter1").mkdir(parents=True)
    with pytest.raises(InputError, match="not replaced"):
        write_bundle(content, tmp_path / "plans", key=key, report=silent)


def test_a_full_or_forbidden_place_is_a_clear_error(tmp_path: Path, key: SigningKey) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError) as caught:
        write_bundle(make_content(tmp_path / "in"), tmp_path / "file" / "out", key=key, report=silent)
    assert caught.value.diagnostics[0].hint


def test_a_disk_that_refuses_leaves_the_old_bundle(tmp_path: Path, key: SigningKey) -> None:
    out, content = tmp_path / "out", make_content(tmp_path / "in")
    first = write_bundle(content, out, key=key, report=silent)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The nearest to a full disk that needs no disk of its own: no file may grow over 5000 bytes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        # The bundle itself would fit, its archive does not: nothing is replaced then.
        with pytest.raises(ToolError) as caught:
            write_bundle(make_content(tmp_path / "in2", SMALL), out, key=key, report=silent, archive=tmp_path / "x.tar")
        with pytest.raises(ToolError):
            write_bundle(content, tmp_path / "other", key=key, report=silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.diagnostics[0].hint
    assert verify_bundle(out, public_key=key.public).digest == first.digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "in2", "out"]


def test_two_writers_at_once_do_not_hurt_each_other(tmp_path: Path, key: SigningKey) -> None:
    out = tmp_path / "out"

    def write_often(version: str) -> None:
        content = make_content(tmp_path / version, version=version)
        for _ in range(10):
            # The archive is made of the writer's own files, never of those another one is just putting in their place.
            info = write_bundle(content, out, key=key, report=silent, archive=tmp_path / f"{version}.tar")
            assert verify_bundle(tmp_path / f"{version}.tar", public_key=key.public).digest == info.digest

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write_often, version) for version in ("1.0.0", "2.0.0", "3.0.0")]:
            done.result()
    verify_bundle(out, public_key=key.public)
    names = [name for version in ("1.0.0", "2.0.0", "3.0.0") for name in (version, f"{version}.tar")]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*names, "out"]


def test_a_writable_file_is_copied_and_a_stored_one_is_not(tmp_path: Path) -> None:
    mine, stored = tmp_path / "mine", tmp_path / "stored"
    for path in (mine, stored):
        path.write_bytes(b"weights")
    stored.chmod(0o444)
    place_file(mine, tmp_path / "a")
    place_file(stored, tmp_path / "b")
    assert mine.stat().st_mode & 0o777 == 0o644
    mine.write_bytes(b"edited!")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"weights"
    assert {(tmp_path / n).stat().st_mode & 0o777 for n in "ab"} == {0o444}


def test_an_old_bundle_left_aside_is_put_back(tmp_path: Path, key: SigningKey) -> None:
    # What a kill leaves on systems that cannot exchange two folders in one step.
    out = tmp_path / "out"
    write_bundle(make_content(tmp_path / "in"), out, key=key, report=silent)
    out.rename(tmp_path / ".out.old-0123abcd")
    clear_leftovers(out)
    verify_bundle(out, public_key=key.public)


def test_a_living_writer_is_left_alone(tmp_path: Path, key: SigningKey) -> None:
    with scratch_folder(tmp_path / "out") as scratch:
        write_bundle(make_content(tmp_path / "in"), tmp_path / "out", key=key, report=silent)
        assert scratch.is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
