"""Mistakes of a checkpoint name a path that can be opened."""

from __future__ import annotations

import pytest

from edgec.errors import Diagnostic, InputError, Span
from edgec.source.place import placed_in

SPAN = Span("recipe.yaml", 1, 1, 1, "a: 1")


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("config.json", "models/m/config.json"),
        ("config.json: rope_scaling", "models/m/config.json: rope_scaling"),
        ("model-00001-of-00002.safetensors: tensor 'a'", "models/m/model-00001-of-00002.safetensors: tensor 'a'"),
        ("model.safetensors.index.json", "models/m/model.safetensors.index.json"),
        ("1_Pooling/config.json", "models/m/1_Pooling/config.json"),
        ("checkpoint", "models/m"),
        ("models/m/config.json", "models/m/config.json"),
        ("/elsewhere/a.safetensors", "/elsewhere/a.safetensors"),
        ("tokenizer.pre", "tokenizer.pre"),
        (None, None),
    ],
)
def test_file_names_get_their_folder(place: str | None, shown: str | None) -> None:
    with pytest.raises(InputError) as caught, placed_in("models/m"):
        raise InputError(Diagnostic("wrong", place=place), Diagnostic("wrong too", span=SPAN))
    assert caught.value.diagnostics[0].place == shown
    assert caught.value.diagnostics[1] == Diagnostic("wrong too", span=SPAN)
