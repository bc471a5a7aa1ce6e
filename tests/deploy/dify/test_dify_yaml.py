"""YAML that both versions read as it was meant."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from edgec.deploy.dify.yaml import to_yaml

TRAPS = [
    *("no", "on", "Yes", "null", "~", "1.0", "1e3", "0x1", "0o7", "12:30", "2025-01-01", "", " a", "a: b", "#", "-"),
    *("*a", "&a", "!t", "a\nb", '"', "\\", "\x85", "\u2028", "\ufeff", "\x07", "温度", "\U0001f600", "=", "<<", ".inf"),
]

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(TRAPS)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


def read(data: bytes, version: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(data.decode())


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@given(value=st.dictionaries(texts, values, min_size=1, max_size=3))
def test_both_versions_read_what_was_meant(version: str, value: dict[str, Any]) -> None:
    assert read(to_yaml(value), version) == value


def test_lists_of_mappings() -> None:
    value = {"a": [{"b": [{"c": 1}, "d"], "e": {}}, [], [[1, 2]]]}
    assert read(to_yaml(value), "1.1") == value


def test_times_stand_without_quotes() -> None:
    """Go's YAML reads a quoted time as a text, and the daemon refuses it."""
    when = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    assert to_yaml({"created_at": when}) == b"created_at: 2025-01-01T00:00:00Z\n"


def test_what_yaml_has_no_word_for_is_a_bug() -> None:
    with pytest.raises(TypeError):
        to_yaml({"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        to_yaml({"a": float("nan")})
