"""A store that is cleaned or rots while builds use it: no build fails of it, and no model is blamed for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_build import MODEL, ran

from edgec import api
from edgec.errors import ProofError
from edgec.events import ActionStarted, Event, Note


def workshop(folder: Path, report) -> api.Workshop:
    """The folders the `edgec` command of this test uses as well."""
    return api.Workshop(cache=folder / "cache", config=folder / "config" / "edgec", offline=True, report=report)


def rot(path: Path) -> None:
    """Changes bits in the last third of a file but not its size, time or inode, as a failing disk does."""
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    start = len(data) * 2 // 3
    data[start : start + 200_000] = bytes(b ^ 0x5A for b in data[start : start + 200_000])
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(0o444)


def stored(shop, name: str) -> Path:
    """The stored file called `name`."""
    (path,) = (shop.folder / "cache" / "store" / "results").glob(f"*/{name}")
    return path


def test_clean_at_every_moment_of_a_build(shop):
    recipe = shop.recipe()
    told: list[Event] = []

    def clean_and_keep_notes(event: Event) -> None:
        removed = api.clean(workshop(shop.folder, told.append))
        assert removed == {}

    built = api.build(recipe, workshop=workshop(shop.folder, clean_and_keep_notes), output=shop.folder / "artifacts")
    assert shop.run("verify", built.path).code == 0
    assert any(isinstance(e, Note) and "a running build uses" in e.message for e in told)
    assert len(api.clean(workshop(shop.folder, told.append))) == 3
    assert not list((shop.folder / "cache" / "store" / "results").iterdir())


def test_a_rotten_reference_is_made_again_and_no_scheme_is_blamed(shop):
    recipe = shop.recipe()
    first = shop.run("build", recipe)
    rot(stored(shop, "reference.gguf"))
    again = shop.run("build", recipe, "--set", "prove.windows=3")
    assert again.code == 0, again.err
    assert "reference" in ran(again)
    assert any("changed on the disk" in e.get("message", "") for e in again.events)
    assert again.last["digest"] != first.last["digest"]


def test_a_proof_that_fails_on_sound_files_stays_a_failed_proof(shop):
    started: list[str] = []

    def keep(event: Event) -> None:
        if isinstance(event, ActionStarted):
            started.append(event.kind)

    shop_here = workshop(shop.folder, keep)
    with pytest.raises(ProofError):
        api.build(shop.recipe(), sets=["prove.max_kl=0.000001"], workshop=shop_here, output=shop.folder / "out")
    assert sorted(started) == ["compile", "prove", "reference"]


def test_clean_damaged_removes_what_rotted_and_nothing_else(shop):
    recipe = shop.recipe()
    assert shop.run("build", recipe).code == 0
    assert shop.run("clean", "--damaged").last["removed"] == []
    spoiled = stored(shop, "reference.gguf")
    rot(spoiled)
    (named,) = shop.run("clean", "--damaged", "--dry-run").last["removed"]
    assert named == f"results/{spoiled.parent.name}"
    assert spoiled.exists()
    assert shop.run("clean", "--damaged").last["removed"] == [named]
    assert not spoiled.exists()
    assert ran(shop.run("build", recipe, "--set", "prove.windows=3")) == ["reference", "prove", "bundle"]
    assert (MODEL / "model.safetensors").exists()
