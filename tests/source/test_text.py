"""Texts are UTF-8, or the mistake is shown where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.errors import InputError
from edgec.source.text import read_text


def test_reads_utf8_with_and_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffGrüße, 世界\r\n".encode())
    assert read_text(path, "calibration text") == "Grüße, 世界\r\n"


def test_shows_the_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("first\nGrüße und Käse ".encode() + b"caf\xe9 zu\r\nlast\n")
    with pytest.raises(InputError) as caught:
        read_text(path, "calibration text")
    assert str(caught.value).split("\n") == [
        f"{path}:2:19: error: the calibration text is not UTF-8: byte 0xe9",
        " 2 | Grüße und Käse caf\ufffd zu",
        "   |                   ^",
        "hint: save the file as UTF-8, for instance with `iconv -f LATIN1 -t UTF-8`",
    ]


def test_a_bad_byte_on_the_first_line_after_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfab\xff")
    with pytest.raises(InputError, match=r":1:3: error: the held-out text is not UTF-8"):
        read_text(path, "held-out text")


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="the held-out text is empty"):
        read_text(path, "held-out text")


def test_a_text_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the calibration text cannot be read: No such file"):
        read_text(tmp_path / "gone.txt", "calibration text")
    with pytest.raises(InputError, match="the calibration text cannot be read: Is a directory"):
        read_text(tmp_path, "calibration text")
