"""Values of the core schema, and their places."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edgec.documents.marked import Mapping, MarkedDocument, Scalar, plain
from edgec.documents.text import MAX_BYTES, SourceText
from edgec.documents.yaml import compose, load_marked, resolve_plain
from edgec.errors import InputError


def read(text: str) -> Mapping:
    node, mistakes = compose(SourceText("f.yaml", text))
    assert isinstance(node, Mapping)
    assert mistakes == ()
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("010", 10), ("1.5", 1.5), (".5", 0.5),
        ("1e3", 1000.0), ("2.", 2.0),
        ("true", True), ("FALSE", False), ("yes", "yes"), ("on", "on"), ("null", None), ("~", None), ("", None),
        ("1.0.0", "1.0.0"), ("1_000", "1_000"), ("12:30", "12:30"), ("-.inf", -math.inf), ("9" * 41, "9" * 41),
    ],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(float(str(resolve_plain(".nan"))))


def test_quoted_is_text_and_blocks_keep_their_lines() -> None:
    assert plain(read("a: '1'\nb: \"x\\ny\"\nc: |\n  one\n  two\n")) == {"a": "1", "b": "x\ny", "c": "one\ntwo\n"}


def test_places_count_as_an_editor_does() -> None:
    # U+2028 and U+0085 are line ends for YAML 1.1 readers, but for no editor.
    root = read('a: "é\u2028x"\r\nb:\r  c: [1, twenty]\n')
    entry = root.entry("b")
    assert entry is not None
    assert (entry.span.line, entry.span.column) == (2, 1)
    place = MarkedDocument(Path("f"), root).place("b", "c", 1)
    assert isinstance(place.node, Scalar)
    assert (place.span.line, place.span.column, place.span.length) == (3, 10, 6)
    assert place.span.source_line == "  c: [1, twenty]"


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    entry = load_marked(path).root.entry("name")
    assert entry is not None
    assert entry.span.column == 1


def test_skipped_steps_are_the_rest() -> None:
    place = MarkedDocument(Path("f"), read("a: {b: 1}")).place("a", "tag", "b", "nothing")
    assert (place.path, place.rest) == (("a", "b"), ("tag", "nothing"))


@pytest.mark.parametrize("make", ["folder", "absent", "model"])
def test_files_that_are_no_recipe(tmp_path: Path, make: str) -> None:
    path = tmp_path / "r.yaml"
    if make == "folder":
        path.mkdir()
    elif make == "model":
        path.write_bytes(b"a" * (MAX_BYTES + 1))
    (tmp_path / "other.yaml").write_text("a: 1", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_marked(path)
    (only,) = caught.value.diagnostics
    said = {"folder": "is a folder, not a file", "absent": "no such file", "model": "larger than 1 MiB"}
    assert only.message == said[make]
    assert only.place == str(path)
    if make == "absent":
        assert "other.yaml" in (only.hint or "")
