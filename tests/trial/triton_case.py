"""Real bundles, built from recipes as people write them, and what tests of their Triton repositories share."""

from __future__ import annotations

import json
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
