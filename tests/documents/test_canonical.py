"""The same data has one byte form, whatever the order it was made in; files are hashed as their bytes."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.documents.canonical import canonical_json, read_chunks, sha256_bytes, sha256_file, sha256_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def reversed_keys(value: Any) -> Any:
    """The same data with every mapping filled in the other order."""
    if isinstance(value, dict):
        return {k: reversed_keys(value[k]) for k in reversed(list(value))}
    return [reversed_keys(v) for v in value] if isinstance(value, list) else value


@given(VALUES)
def test_the_bytes_are_the_data_in_any_order(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(reversed_keys(value)) == data
    assert canonical_json(json.loads(data)) == data
    assert sha256_json(value) == sha256_bytes(data)


def test_the_form_is_as_written() -> None:
    value = {"ö": [1, 1.0, 1e-7, 0.1, True, None], "a": {"z": "\n é語"}}
    assert canonical_json(value).decode() == '{"a":{"z":"\\n é語"},"ö":[1,1.0,1e-07,0.1,true,null]}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": number})


def test_digests_carry_their_algorithm() -> None:
    assert sha256_bytes(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_files_are_hashed_whole(tmp_path: Path, size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sha256_file(path) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert b"".join(read_chunks(path)) == data
    assert max((len(c) for c in read_chunks(path, 1000)), default=0) <= 1000
