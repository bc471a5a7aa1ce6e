"""Files are whole or not there, and the system's refusals are errors to act on."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgec.errors import ToolError
from edgec.store.atomic import explain, explained, write_file

NAMES = st.text("abc.-_ äß語", min_size=1, max_size=20).filter(lambda name: name.strip("."))
# Replaces one file for ever with letters of one kind, a megabyte each time.
_WRITER = """
import sys
from pathlib import Path
from edgec.store.atomic import write_file
path = Path(sys.argv[1])
for letter in 10_000 * b"abcdefgh":
    write_file(path, bytes([letter]) * 1_000_000)
    print(flush=True)
"""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=5000), name=NAMES)
def test_what_was_written_is_read_and_nothing_else_is_left(tmp_path: Path, data: bytes, name: str) -> None:
    folder = tmp_path / "deep" / "er"
    write_file(folder / name, b"older")
    write_file(folder / name, data)
    assert (folder / name).read_bytes() == data
    assert [p.name for p in folder.iterdir()] == [name]
    (folder / name).unlink()


def test_the_mode_is_the_one_asked_for(tmp_path: Path) -> None:
    write_file(tmp_path / "key", b"secret", mode=0o600)
    write_file(tmp_path / "page", b"public")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o644


def test_a_refused_write_keeps_the_older_content(tmp_path: Path) -> None:
    folder = tmp_path / "standing"
    folder.mkdir()
    (folder / "inside").write_bytes(b"kept")
    with pytest.raises(ToolError, match="refused"):
        write_file(folder, b"a file cannot replace a folder")
    assert (folder / "inside").read_bytes() == b"kept"
    assert [p.name for p in tmp_path.iterdir()] == ["standing"]


def test_a_kill_never_leaves_half_a_file_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for moment_s in (0.0, 0.003, 0.007, 0.011, 0.02):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(moment_s)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        content = path.read_bytes()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EDQUOT, "no space left on the disk"),
        (errno.EACCES, "cannot write here"),
        (errno.EROFS, "cannot write here"),
        (errno.EIO, "the operating system refused"),
    ],
)
def test_refusals_are_explained_with_a_place_and_a_hint(tmp_path: Path, number: int, message: str) -> None:
    # The path need not exist: that is often why it is asked about.
    path = tmp_path / "not" / "there"
    error = explain(OSError(number, os.strerror(number)), path)
    (diagnostic,) = error.diagnostics
    assert message in diagnostic.message
    assert diagnostic.place == str(path)
    assert diagnostic.hint


def test_the_hint_for_a_full_disk_fits_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEC_CACHE", str(tmp_path / "cache"))

    def hint(path: Path) -> str:
        return str(explain(OSError(errno.ENOSPC, "full"), path).diagnostics[0].hint)

    assert "set EDGEC_CACHE" in hint(tmp_path / "cache" / "store")
    assert "EDGEC_CACHE" not in hint(tmp_path / "artifacts")
    assert "`edgec clean` empties the store, which is on this disk" in hint(tmp_path / "artifacts")
    # Another file system on every Linux.
    assert "clean" not in hint(Path("/proc/self"))
    assert "larger" in hint(Path("/proc/self"))


def test_only_the_systems_refusals_are_turned(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as refused, explained(tmp_path):
        (tmp_path / "none").read_bytes()
    assert isinstance(refused.value.__cause__, FileNotFoundError)
    with pytest.raises(ValueError, match="ours"), explained(tmp_path):
        raise ValueError("ours")
