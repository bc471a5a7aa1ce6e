"""An environment with one tiny wheel, made once; wheels come from a folder, never from a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_wheels import pin, toolchain_of, write_wheel

from edgec.events import silent
from edgec.toolchain.environments import Environment, install


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip looks into, and into nothing else when it is offline."""
    isolate_pip(monkeypatch, tmp_path / "shelf")
    return tmp_path / "shelf"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An installed toolchain with the module `tiny`. Tests do not change it."""
    folder = tmp_path_factory.mktemp("tiny")
    toolchain = toolchain_of(folder / "tiny.lock", pin(write_wheel(folder / "shelf", "tiny")), smoke=("tiny",))
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate_pip(monkeypatch, folder / "shelf")
        yield install(toolchain, folder / "root", offline=True, report=silent, log=folder / "log")


def isolate_pip(monkeypatch: pytest.MonkeyPatch, shelf: Path) -> None:
    """Lets pip have no settings but a folder of wheels, and edgec no Python but its own."""
    for name in [n for n in os.environ if n.startswith("EDGEC_PYTHON_")]:
        monkeypatch.delenv(name)
    shelf.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
