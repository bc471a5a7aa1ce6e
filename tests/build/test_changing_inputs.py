"""Inputs that change while a build runs: it ends with exit 2, and the store holds nothing that was made of them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from test_build import MODEL

from edgec import api
from edgec.build.built import Built
from edgec.errors import InputError
from edgec.events import ActionFinished, ActionStarted, Event, Progress

ARTIFACT = "quantize: {scheme: q4_0"
IMATRIX = ARTIFACT + ", imatrix: {calibration: model/calibration.txt, max_tokens: 1024}"


def flip_weights(folder: Path) -> None:
    """Changes weights in place, to other finite ones."""
    path = folder / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100_000:-50_000:2] = bytes(b ^ 1 for b in data[-100_000:-50_000:2])
    with path.open("r+b") as file:
        file.write(data)


def build(folder: Path, at: Callable[[Event], bool], change: Callable[[Path], None]) -> Built:
    """Builds in `folder`, where `change` happens once, at the first event that `at` is true for."""
    once = threading.Lock()

    def report(event: Event) -> None:
        if at(event) and once.acquire(blocking=False):
            change(folder)

    shop = api.Workshop(cache=folder / "cache", config=folder / "config", offline=True, report=report)
    return api.build(folder / "recipe.yaml", workshop=shop, output=folder / "artifacts")


def never(event: Event) -> bool:
    return False


@pytest.fixture
def folder(shop):
    """A folder with a recipe and a model of its own."""
    shutil.copytree(MODEL, shop.folder / "model")
    recipe = shop.recipe()
    recipe.write_text(recipe.read_text().replace(str(MODEL), "model").replace(ARTIFACT, IMATRIX))
    return shop.folder


def test_weights_that_change_between_two_actions(folder: Path) -> None:
    def imatrix_starts(event: Event) -> bool:
        return isinstance(event, ActionStarted) and event.kind == "imatrix"

    refuse_and_recover(folder, imatrix_starts, flip_weights, "model.safetensors")


@pytest.mark.parametrize("action", ["reference", "compile"])
def test_weights_that_change_within_an_action(folder: Path, action: str) -> None:
    def half(event: Event) -> bool:
        return isinstance(event, Progress) and event.action.startswith(action) and 2 * event.done > event.total

    refuse_and_recover(folder, half, flip_weights, "model.safetensors")


@pytest.mark.parametrize("name", ["calibration.txt", "held_out.txt"])
def test_texts_that_change(folder: Path, name: str) -> None:
    def reference_made(event: Event) -> bool:
        return isinstance(event, ActionFinished) and event.kind == "reference"

    def change(folder: Path) -> None:
        path = folder / "model" / name
        path.write_text(path.read_text() + "One more line.\n")

    refuse_and_recover(folder, reference_made, change, name)


def refuse_and_recover(folder: Path, at: Callable[[Event], bool], change: Callable[[Path], None], name: str) -> None:
    """Asserts that the build is refused, and that with the old inputs it makes what an undisturbed one makes."""
    with pytest.raises(InputError, match="the file changed while it was read") as caught:
        build(folder, at, change)
    assert str(caught.value.diagnostics[0].place).endswith(name)
    assert not (folder / "artifacts").exists()
    shutil.copy(MODEL / name, folder / "model" / name)
    again = build(folder, never, flip_weights)
    shutil.rmtree(folder / "cache")
    assert build(folder, never, flip_weights).digest == again.digest
