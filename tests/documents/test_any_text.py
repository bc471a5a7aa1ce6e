"""No text whatsoever makes the reading raise anything but an EdgecError, and every mistake points into the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgec.documents.text import SourceText
from edgec.documents.yaml import compose
from edgec.errors import EdgecError
from edgec.recipe.load import load_recipe

QUICKSTART = (Path(__file__).parents[2] / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
_SNIPPETS = [
    "- ", ": ", ", ", "? ", "[", "]", "{", "}", "\n", "  ", "\t", "#", "&a", "*a", "!", "!!str ", "!<", ">", "|",
    "|2-\n", "'", '"', "%YAML 1.1\n", "%TAG ! x\n", "---", "...", "<<: ", "@", "`", "${{", "}}", "env.X", "vars.x", "~",
    "\\x", "\\", "\ufeff", "\u2028", "\x85", "\r", "0x", "0o8", "1e999", ".inf", ".nan", "9" * 50,
    "schema: edgec/recipe/v1\n", "source: ", "artifacts: ", "extends: ", "vars: ", "name: ",
]  # fmt: skip
yaml_like = st.lists(st.one_of(st.sampled_from(_SNIPPETS), st.text(max_size=6)), max_size=30).map("".join)


def check_points_into(error: EdgecError, text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for diagnostic in error.diagnostics:
        assert diagnostic.message
        span = diagnostic.span
        if span is not None:
            assert 1 <= span.line <= len(lines)
            assert 1 <= span.column <= len(span.source_line) + 1
            assert span.length >= 1
        assert diagnostic.render()


@given(yaml_like)
@example("a: !<tag:x,y> *b")
@example("? [a]\n: b")
@example("%YAML 9.9\n---\na")
@example("[" * 2000)
@example("\ud800")
@settings(max_examples=1500, deadline=None)
def test_reading_any_yaml_like_text(text: str) -> None:
    try:
        compose(SourceText("f.yaml", text))
    except EdgecError as error:
        check_points_into(error, text)


@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"a: \xc3")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_loading_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    with pytest.raises(EdgecError):
        load_recipe(path, env={})


@given(st.integers(0, len(QUICKSTART)), st.integers(0, 12), yaml_like)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_loading_a_damaged_recipe(tmp_path: Path, at: int, cut: int, put: str) -> None:
    text = QUICKSTART[:at] + put + QUICKSTART[at + cut :]
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    try:
        loaded = load_recipe(path, env={"X": "secret"})
    except EdgecError as error:
        if all(d.span is None or d.span.file == str(path) for d in error.diagnostics):
            check_points_into(error, path.read_bytes().decode("utf-8", errors="replace"))
    else:
        assert loaded.document["schema"] == "edgec/recipe/v1"


@given(st.one_of(st.text(max_size=40), yaml_like.map(lambda text: "source.path=" + text)))
@example("artifacts[0].quantize.scheme=f16")
@example("a" * 10 + "[999999]=1")
@example("artifacts.99=1")
@example("=")
@example("prove.windows=[1")
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_set(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(QUICKSTART, encoding="utf-8")
    said = ""
    try:
        load_recipe(path, sets=[text], env={"X": "secret"})
    except EdgecError as error:
        said = str(error)
    assert "secret" not in said
