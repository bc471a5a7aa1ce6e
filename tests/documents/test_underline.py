"""The marks under a source line stand below the place in a terminal, whatever characters come before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.errors import Span


@pytest.mark.parametrize(
    ("line", "text", "marks"),
    [
        ("a: bc", "bc", "   ^^"),
        ("\ta: bc", "bc", "\t   ^^"),
        ("日本: bc", "bc", "      ^^"),
        ("a: 日本", "日本", "   ^^^^"),
        ("e\u0301: 😀b", "😀", "   ^^"),
        ("\u200d\u0301", "\u0301", "^"),
    ],
)
def test_marks_are_as_wide_as_the_text(line: str, text: str, marks: str) -> None:
    span = Span("f", 1, line.index(text) + 1, len(text), line)
    assert span.underlined() == (line, marks)


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "x" * 300_000 + "HERE" + "y" * 300
    shown, marks = Span("f", 1, 300_001, 4, line).underlined()
    assert shown.startswith("...xxx")
    assert shown.endswith("yyy...")
    assert shown[len(marks) - 4 : len(marks)] == "HERE"
    assert marks.strip() == "^^^^"
    assert len(shown) == 166


@given(before=st.integers(0, 500), length=st.integers(1, 500), after=st.integers(0, 500))
def test_the_place_is_always_shown_and_marked(before: int, length: int, after: int) -> None:
    line = "x" * before + "m" * length + "y" * after
    shown, marks = Span("f", 1, before + 1, length, line).underlined()
    assert shown[marks.index("^")] == "m"
    assert set(shown[marks.index("^") : len(marks)]) == {"m"}
    assert len(marks) <= len(shown) <= 166
