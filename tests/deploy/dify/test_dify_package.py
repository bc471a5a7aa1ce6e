"""The zip: what is written is fixed to the byte, what Dify would read otherwise is refused."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import daemon_rules
import pytest

from edgec.deploy.dify.package import MAX_BYTES, PluginPackage, open_package, read_package, write_package
from edgec.errors import InputError

FILES = {"manifest.yaml": b"name: a\n", "_assets/icon.svg": b"<svg/>", "é.txt": "ü".encode(), "empty": b""}


def zipped(write: Callable[[zipfile.ZipFile], object]) -> bytes:
    """A zip that another program made."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return sink.getvalue()


def test_what_is_written_is_what_is_read() -> None:
    data = write_package(PluginPackage(tuple(FILES.items()), b"comment"))
    assert read_package(data) == PluginPackage(tuple(FILES.items()), b"comment")
    assert daemon_rules.entries(data) == (list(FILES.items()), b"comment")


def test_bytes_depend_on_nothing_but_names_and_contents() -> None:
    backwards = dict(reversed(FILES.items()))
    data = write_package(PluginPackage.of(FILES))
    assert data == write_package(PluginPackage.of(backwards))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {e.date_time for e in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not [e for e in archive.infolist() if e.is_dir()]


def test_checksum_is_the_daemons() -> None:
    package = PluginPackage.of(FILES)
    assert package.checksum == daemon_rules.checksum(write_package(package))
    renamed = {("readme" if name == "empty" else name): content for name, content in FILES.items()}
    assert PluginPackage.of(renamed).checksum != package.checksum


def test_a_compressed_package_of_another_is_read() -> None:
    data = zipped(lambda z: z.writestr("a.txt", b"a" * 1000))
    assert len(data) < 1000
    assert read_package(data).content("a.txt") == b"a" * 1000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no zip", "not a plugin package"),
        (zipped(lambda z: z.writestr("models/", b"")), "the folder models/"),
        (zipped(lambda z: [z.writestr(n, b"1") for n in ("a.py", "b.py")]).replace(b"b.py", b"a.py"), "a.py twice"),
        (zipped(lambda z: z.writestr("../a", b"")), "'../a'"),
        (zipped(lambda z: z.writestr("/etc/a", b"")), "'/etc/a'"),
        (zipped(lambda z: z.writestr("a//b", b"")), "'a//b'"),
        (zipped(lambda z: z.writestr("a/./b", b"")), "'a/./b'"),
        (zipped(lambda z: z.writestr("a\\b", b"")), "b'"),
        (zipped(lambda z: z.writestr("a", b"1", compress_type=zipfile.ZIP_LZMA)), "compressed in a way"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_package(data, place="p.difypkg")
    assert message in str(caught.value)
    assert caught.value.diagnostics[0].hint


def test_a_spoilt_byte_is_found() -> None:
    data = bytearray(write_package(PluginPackage.of({"a": b"content"})))
    data[data.index(b"content")] ^= 1
    with pytest.raises(InputError, match="CRC"):
        read_package(bytes(data))


def test_size_is_counted_before_compression(tmp_path: Path) -> None:
    bomb = zipped(lambda z: z.writestr("zeros", bytes(MAX_BYTES + 1)))
    assert len(bomb) < 1 << 20
    path = tmp_path / "bomb.difypkg"
    path.write_bytes(bomb)
    with pytest.raises(InputError, match=f"{MAX_BYTES} at most"):
        open_package(path)
    with pytest.raises(InputError, match=f"{MAX_BYTES} at most"):
        write_package(PluginPackage.of({"zeros": bytes(MAX_BYTES + 1)}))
    assert read_package(write_package(PluginPackage.of({"zeros": bytes(MAX_BYTES)}))).size_bytes == MAX_BYTES


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such package"):
        open_package(tmp_path / "none.difypkg")


class Pipe(io.RawIOBase):
    """Where a writer cannot go back, so that it puts sizes after the files, as Go's does."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self.data += piece
        return len(piece)


@pytest.mark.parametrize("at", ["before", "between", "before the directory", "after"])
@pytest.mark.parametrize("comment", [b"", b"signed"])
def test_bytes_that_belong_to_nothing(at: str, comment: bytes) -> None:
    data = write_package(PluginPackage(tuple(FILES.items()), comment))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        second, directory = archive.infolist()[1].header_offset, archive.start_dir
    place = {"before": 0, "between": second, "before the directory": directory, "after": len(data)}
    stray = data[: place[at]] + b"#!/bin/sh\n" + data[place[at] :]
    with pytest.raises(InputError, match=r"belong to no file|not a plugin package"):
        read_package(stray)


def test_sizes_after_the_files_belong_to_them() -> None:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert b"PK\x07\x08" in pipe.data
    assert read_package(pipe.data).files == tuple(FILES.items())
    with pytest.raises(InputError, match="belong to no file"):
        read_package(b"x" + pipe.data)


def test_many_files_are_read_in_their_number(tmp_path: Path) -> None:
    """Of the processor's time, which other programs do not take; in its square it was half a minute."""
    package = PluginPackage(tuple((f"{n}.txt", b"") for n in range(60_000)))
    data = write_package(package)
    began = time.process_time()
    assert read_package(data) == package
    assert time.process_time() - began < 10


def test_more_files_than_a_plain_zip_counts() -> None:
    package = PluginPackage(tuple((f"{n}", b"") for n in range(65_536)))
    with pytest.raises(InputError, match="the package holds 65536 files; 65535 are the most"):
        write_package(package)

    def write(archive: zipfile.ZipFile) -> None:
        for name, content in package.files:
            archive.writestr(name, content)

    with pytest.raises(InputError, match="65535 are the most"):
        read_package(zipped(write))
