"""Real bundles, built from recipes as people write them, and what tests of their Triton repositories share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgec.api import Workshop, build
from edgec.bundle.keyfile import PublicKey, load_public_key
from edgec.bundle.unpack import unpack
from edgec.trial.triton_client import TritonModel

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
NAME = "docs-llama"
PROMPT = "How do I list the files of a folder?"
MESSAGES = json.dumps([{"role": "user", "content": PROMPT}])
GREEDY: dict[str, Any] = {"max_tokens": 24, "temperature": 0.0}
# Fills the context: no model ends such a list by itself.
LONG: dict[str, Any] = {
    "max_tokens": 1000,
    "temperature": 0.0,
    "json_schema": json.dumps({"type": "array", "items": {"type": "boolean"}, "minItems": 1900}),
}
GENERATED = "edgec_generated_tokens_total"


def built_and_unpacked(recipe: Path, folder: Path, *sets: str) -> Path:
    """The unpacked bundle of a recipe; the bundle itself is the only entry of `artifacts` beside it."""
    shop = Workshop(cache=folder / "cache", config=folder / "config")
    built = build(recipe, sets=sets, workshop=shop, output=folder / "artifacts")
    unpacked = folder / "unpacked"
    unpack(built.path, unpacked, public_key=public_key(unpacked), accept_development_key=True)
    return unpacked


class Shop:
    """The command line with a cache and keys of its own, but for the toolchains."""

    def __init__(self, folder: Path, toolchains: Path) -> None:
        self.folder = folder
        (folder / "cache").mkdir()
        (folder / "cache" / "toolchains").symlink_to(toolchains)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the command."""
        own = {"EDGEC_CACHE": str(self.folder / "cache"), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return {**os.environ, **own}

    def command(self, *arguments: str) -> list[str]:
        """The argument list of `edgec ARGUMENTS --json`."""
        return [sys.executable, "-m", "edgec", *arguments, "--json"]

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code of `edgec ARGUMENTS` and its last line."""
        command = self.command(*arguments)
        ended = subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True, check=False)
        return ended.returncode, json.loads(ended.stdout.splitlines()[-1])


def public_key(unpacked: Path) -> PublicKey:
    """The key that a bundle of `built_and_unpacked` is signed with."""
    return load_public_key(unpacked.with_name("config") / "keys" / "development.pub")


def chat_text(answer: dict[str, Any]) -> str:
    """The text of an answer of `/v1/chat/completions`."""
    return str(answer["choices"][0]["message"]["content"])


def text_of(model: TritonModel, **inputs: Any) -> str:
    """The text of a whole answer."""
    reply = model.generate(**inputs)
    assert reply.is_ok, reply.body
    return str(reply.json()["text_output"])
