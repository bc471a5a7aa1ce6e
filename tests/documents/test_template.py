"""Templates: types are kept, names must exist, secrets stay out of messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgec.documents.marked import Mapping, MarkedDocument, Scalar
from edgec.documents.template import render
from edgec.documents.text import SourceText
from edgec.documents.yaml import compose

ENV = {"DIR": "/models", "PORT": "12", "items": "an item"}


def rendered(text: str) -> MarkedDocument:
    root, mistakes = compose(SourceText("f.yaml", text))
    assert isinstance(root, Mapping)
    return render(MarkedDocument(Path("f.yaml"), root, mistakes), ENV)


def value(template: str, variables: str = "{n: 7, x: 0.5, t: abc, b: true, items: 3}") -> Any:
    document = rendered(f"vars: {variables}\na: {template}\n")
    assert document.mistakes == ()
    return document.data()["a"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${{ vars.n }}", 7),
        ("${{ vars.x }}", 0.5),
        ("${{ vars.b }}", True),
        ("'${{ vars[\"n\"] }}'", 7),
        ("n=${{ vars.n }}", "n=7"),
        ("${{ env.DIR }}/${{ vars.t | upper }}", "/models/ABC"),
        ("${{ env.PORT | int }}", 12),
        ("${{ env.PORT }}", "12"),
        ("${{ env.NONE | default('d') }}", "d"),
        ("${{ vars.none | default(4) }}", 4),
        ("${{ vars.t ~ '-' ~ vars.n }}", "abc-7"),
        ("${{ vars.items }}", 3),  # a name, not a method of dict
        ("${{ env.items }}", "an item"),
        ("${{ '${{' }}", "${{"),
        ("$100 {{ not a template }}", "$100 {{ not a template }}"),
    ],
)
def test_values(template: str, expected: object) -> None:
    assert value(template) == expected
    assert type(value(template)) is type(expected)


@pytest.mark.parametrize(
    "expression",
    [
        "vars.__class__", "env.copy", "vars.n.real", "range(3)", "[1]", "vars", "lipsum", "vars.t()", "vars.t.upper()",
        "1 if vars.b else 2", "vars.n * 2", "self", "vars.t | attr('x')", "''.__class__.__mro__",
        "vars.t | map('upper')",
    ],
)  # fmt: skip
def test_a_recipe_is_no_program(expression: str) -> None:
    document = rendered(f'vars: {{n: 1, t: a, b: true}}\na: "${{{{ {expression} }}}}"\n')
    assert len(document.mistakes) == 1
    assert document.mistakes[0].hint


def test_the_column_of_an_undefined_name_in_a_block() -> None:
    document = rendered("a: |\n  first ${{ env.DIR }}\n  then ${{ env.DIR ~ env.NOPE }}\n")
    (mistake,) = document.mistakes
    assert mistake.span is not None
    assert (mistake.span.line, mistake.span.column, mistake.span.length) == (3, 22, 8)


def test_what_came_from_the_environment_is_marked_also_through_a_var() -> None:
    document = rendered(
        "vars: {d: '${{ env.DIR }}', own: 1}\na: ${{ vars.d }}\nb: ${{ vars.own }}\nc: x${{ env.DIR }}\n"
    )
    marks = {name: document.place(name).node for name in "abc"}
    assert {name: isinstance(n, Scalar) and n.from_env for name, n in marks.items()} == {
        "a": True,
        "b": False,
        "c": True,
    }
    assert document.data()["a"] == "/models"
