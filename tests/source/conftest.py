"""Checkpoints made by hand, and a hub that serves the real small model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from handmade import MODEL
from hub_server import HubServer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with a config.json and the given files."""

    def make(files: dict[str, bytes] | None = None, *, config: object = None) -> Path:
        folder = tmp_path / "tiny-model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"} if config is None else config))
        for name, data in (files or {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    return make


@pytest.fixture
def hub_server() -> Iterator[HubServer]:
    """A hub with the real small model, plus a pickle and a script that nobody must fetch."""
    files = {p.name: p.read_bytes() for p in MODEL.iterdir()}
    files["pytorch_model.bin"] = b"\x80\x04pickle"
    files["modeling_evil.py"] = b"raise SystemExit"
    server = HubServer(files)
    yield server
    server.close()
