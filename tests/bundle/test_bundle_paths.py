"""Names in a bundle: what is refused, and that nothing accepted can leave the folder."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.bundle.paths import path_fault, set_fault


@pytest.mark.parametrize("path", ["a", "a/b.c", "gguf/model-00001-of-00002.gguf", "é/ü", ".hidden", "文/件"])
def test_ordinary_names_are_fine(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\\b", "c:a", "a\0b", "a\nb", "a\x1bb", "a.",
        "a ", "a/b. /c", "e\u0301", "a\u200bb", "a\u202eb", "\ud800", "x" * 256, "/".join(["x" * 100] * 6),
        ".git/config", ".GIT/x", ".gitignore", "a*", "a?", 'a"', "a|b", "<a>",
    ],
)  # fmt: skip
def test_odd_names_are_refused(path: str) -> None:
    assert path_fault(path)


@given(st.text(alphabet=st.sampled_from("ab./\\:\0 \u0301é"), max_size=12))
def test_nothing_accepted_can_leave_the_folder(path: str) -> None:
    if path_fault(path) is None:
        posix, windows = PurePosixPath(path), PureWindowsPath(path)
        assert str(posix) == path
        assert not posix.is_absolute()
        assert not windows.is_absolute()
        assert not windows.drive
        assert ".." not in posix.parts
        assert posix.parts == windows.parts


@pytest.mark.parametrize(
    "paths",
    [["a", "a"], ["a", "A"], ["straße", "STRASSE"], ["a", "a/b"], ["a/b", "A"], ["x/a", "X/b"], ["ﬁle", "file"]],
)
def test_colliding_names_are_refused(paths: list[str]) -> None:
    assert set_fault(paths)
    assert set_fault(reversed(paths))


def test_siblings_are_fine() -> None:
    assert set_fault(["a/b", "a/c", "ab", "b/a/c"]) is None
