"""A workshop of its own for every test, and the `edgec` command as a person runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder_models import write_encoder
from hub_server import HubServer
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "docs-llama"

RECIPE = f"""\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {{path: {MODEL}, licence: apache-2.0}}
context: 256
artifacts:
  - format: gguf
    quantize: {{scheme: q4_0}}
prove: {{held_out: {MODEL}/held_out.txt, windows: 4}}
"""


@dataclass(frozen=True)
class Finished:
    """An ended command: its exit code, its last JSON line, its other output."""

    code: int
    last: dict[str, Any]
    events: list[dict[str, Any]]
    err: str


@dataclass(frozen=True)
class Shop:
    """Folders of one test. `run("build", recipe)` runs `edgec build recipe --json` in them."""

    folder: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the commands."""
        return {
            **os.environ,
            "EDGEC_CACHE": str(self.folder / "cache"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "HF_HUB_OFFLINE": "1",
            **self.extra,
        }

    def with_fresh_cache(self, name: str) -> Shop:
        """The same folders and keys, with nothing built; toolchains are shared."""
        cache = self.folder / name
        cache.mkdir()
        (cache / "toolchains").symlink_to(self.folder / "cache" / "toolchains")
        return dataclasses.replace(self, extra={**self.extra, "EDGEC_CACHE": str(cache)})

    def recipe(self, text: str = RECIPE, name: str = "recipe.yaml") -> Path:
        """Writes a recipe."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def small_board(self) -> Path:
        """Writes a target that has room for one sequence of the small model, but not for a hundred."""
        path = self.folder / "small-board.yaml"
        memory = "memory: {total_mib: 900, os_reserve_mib: 768}"
        path.write_text(f"extends: pi5-8gb\nname: small-board\ntitle: Small board\n{memory}\n", encoding="utf-8")
        return path

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Starts a command in the folder, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "edgec", *map(str, arguments), "--json"],
            cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def finish(self, child: subprocess.Popen[str]) -> Finished:
        """Waits for a command."""
        out, err = child.communicate(timeout=900)
        lines = [json.loads(line) for line in out.splitlines()]
        return Finished(child.returncode, lines[-1] if lines else {}, lines, err)

    def run(self, *arguments: str | Path) -> Finished:
        """Runs a command to its end."""
        return self.finish(self.start(*arguments))


@contextlib.contextmanager
def hub_of(shop: Shop, recipe: Path, files: dict[str, bytes]) -> Iterator[Shop]:
    """The workshop with a hub on 127.0.0.1 that has these files under the name and the commit of the recipe's model."""
    source = YAML(typ="safe").load(recipe)["source"]
    server = HubServer(files, repo=source["hub"], commit=source["revision"])
    extra = {"HF_ENDPOINT": server.url, "HF_HOME": str(shop.folder / "hf"), "HF_HUB_OFFLINE": "0"}
    try:
        yield dataclasses.replace(shop, extra=extra)
    finally:
        server.close()


def encoder_files(folder: Path, **options: Any) -> dict[str, bytes]:
    """A small BERT, made in `folder`, by the names of its files."""
    lines = (MODEL / "calibration.txt").read_text(encoding="utf-8").splitlines()
    model = write_encoder(folder, lines[:2000], **options)
    return {str(p.relative_to(model)): p.read_bytes() for p in model.rglob("*") if p.is_file()}
