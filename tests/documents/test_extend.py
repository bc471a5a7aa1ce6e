"""`extends` merges mappings and replaces the rest; values keep the file where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.documents.extend import MAX_CHAIN, load_extended, merge
from edgec.documents.marked import Mapping, plain
from edgec.documents.text import SourceText
from edgec.documents.yaml import compose
from edgec.errors import InputError

trees = st.recursive(
    st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


def node(tree: object) -> Mapping:
    made, _ = compose(SourceText("t", str(tree)))
    assert isinstance(made, Mapping)
    return made


def merged_data(base: object, over: object) -> object:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {k: merged_data(base[k], over[k]) if k in base and k in over else {**base, **over}[k] for k in base | over}


@given(trees, trees)
def test_merge_is_deep_for_mappings_only(base: object, over: object) -> None:
    assert plain(merge(node(base), node(over))) == plain(node(merged_data(base, over)))


def test_values_keep_their_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("a: {x: 1, y: 2}\nl: [1, 2]\n", encoding="utf-8")
    (tmp_path / "over.yaml").write_text("extends: base.yaml\na: {y: 3}\nl: [9]\n", encoding="utf-8")
    document = load_extended(tmp_path / "over.yaml")
    assert document.data() == {"a": {"x": 1, "y": 3}, "l": (9,)}
    assert Path(document.place("a", "x").span.file).name == "base.yaml"
    assert Path(document.place("a", "y").span.file).name == "over.yaml"


def test_a_long_chain_is_refused(tmp_path: Path) -> None:
    for number in range(MAX_CHAIN + 2):
        (tmp_path / f"r{number}.yaml").write_text(f"extends: r{number + 1}.yaml\n", encoding="utf-8")
    with pytest.raises(InputError, match="files extend each other"):
        load_extended(tmp_path / "r0.yaml")
