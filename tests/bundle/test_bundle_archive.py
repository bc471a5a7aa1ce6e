"""Archives from strangers: nothing but plain files, complete, and not one byte more."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_case import Bundle

from edgec.bundle.verify import verify_bundle
from edgec.errors import ProofError


def refused(archive: Path, bundle: Bundle, says: str) -> None:
    with pytest.raises(ProofError) as caught:
        verify_bundle(archive, public_key=bundle.public)
    assert says in str(caught.value)


def with_member(bundle: Bundle, target: Path, change: Callable[[tarfile.TarInfo], None], data: bytes = b"") -> Path:
    """The archive with one more member."""
    shutil.copyfile(bundle.archive, target)
    info = tarfile.TarInfo("planted")
    info.size = len(data)
    change(info)
    with tarfile.open(target, "a", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_and_devices_are_refused(bundle: Bundle, tmp_path: Path, kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "index.json"

    refused(with_member(bundle, tmp_path / "x.tar", change), bundle, "neither a file nor a folder")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "blobs/../x", "blobs//x", "blobs\\x", "C:x"])
def test_paths_that_leave_are_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    refused(with_member(bundle, tmp_path / "x.tar", lambda info: setattr(info, "name", name)), bundle, repr(name))


def test_a_name_twice_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    archive = with_member(bundle, tmp_path / "x.tar", lambda info: setattr(info, "name", "index.json"), b"{}")
    refused(archive, bundle, "'index.json' twice")


def test_an_extra_file_or_folder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    refused(with_member(bundle, tmp_path / "x.tar", lambda info: None, b"x"), bundle, "'planted' does not belong")

    def folder(info: tarfile.TarInfo) -> None:
        info.name, info.type = ".git", tarfile.DIRTYPE

    refused(with_member(bundle, tmp_path / "y.tar", folder), bundle, "unexpected folder '.git'")


def test_extension_headers_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("index.json")
        info.pax_headers = {"comment": "x" * 1000}
        tar.addfile(info)
    refused(tmp_path / "x.tar", bundle, "neither a file nor a folder")


def test_a_truncated_archive_is_refused_wherever_it_ends(bundle: Bundle, tmp_path: Path) -> None:
    data = bundle.archive.read_bytes()
    content_end = len(data.rstrip(b"\0"))
    archive = tmp_path / "x.tar"
    lengths = [*range(1, content_end, 509), *range(512, content_end, 512)]
    # One block of zeros is not an end: two are.
    lengths += [-(-content_end // 512) * 512, -(-content_end // 512) * 512 + 512]
    for length in lengths:
        archive.write_bytes(data[:length])
        with pytest.raises(ProofError):
            verify_bundle(archive, public_key=bundle.public)


def test_bytes_after_the_end_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(bundle.archive.read_bytes() + b"x" * 512)
    refused(tmp_path / "x.tar", bundle, "after its end")


def test_a_compressed_archive_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.add(bundle.layout, arcname=".")
    refused(tmp_path / "x.tar", bundle, "damaged")


def test_an_archive_made_by_gnu_tar_verifies(bundle: Bundle, tmp_path: Path) -> None:
    subprocess.run(["tar", "-cf", tmp_path / "x.tar", "-C", bundle.layout, "."], check=True)
    assert verify_bundle(tmp_path / "x.tar", public_key=bundle.public).digest == bundle.info.digest


def test_python_reads_the_archive_we_write(bundle: Bundle) -> None:
    with tarfile.open(bundle.archive) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in members} == {(0, 0, "", "", 0, 0o644)}
