"""Nouns of the emitters: what may be said of a model, what an emitter finds wrong, what it makes.

Rule: an emitter is a pure function from settings and facts to bytes; every fact comes from a plan whose artifact is
proven before a bundle is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgec.documents.canonical import sha256_bytes, sha256_json
from edgec.prove.model import NotVerified


@dataclass(frozen=True)
class Device:
    """The device that serves: `arch` as the target profile spells it (`aarch64`, `x86_64`, `wasm32`)."""

    name: str
    title: str
    arch: str
    threads: int
    # What the model and its runtime may take of the memory, and what they are planned to take.
    available_mib: float
    needed_mib: float


@dataclass(frozen=True)
class ServedModel:
    """What an emitter may say of the model it deploys.

    `weights`: `sha256:<hex>` of what its numbers are made of: the same for every build of the same inputs, another for
    other weights. `files`: its files by their paths in the bundle, the one a runtime opens first. `context`: tokens of
    one sequence, as planned for the device; `batch`: sequences decoded at once. `embedding_length`: elements of an
    embedding. `pooling`: llama.cpp's name, None for decoders. `chat_template`: as the runtime will use it, None
    without one; `special_texts`: the texts of special tokens that templates use (`bos_token`, ...).
    `bert_tokenizer`: whether tokenizer.json is BERT's: its normalizer and splitter, and WordPiece.
    """

    name: str
    version: str
    title: str
    description: str | None
    licence: str | None
    kind: Literal["decoder", "encoder", "reranker", "classifier"]
    format: str
    scheme: str
    weights: str
    files: tuple[str, ...]
    architecture: str
    parameters: int
    context: int
    batch: int
    embedding_length: int
    pooling: str | None
    chat_template: str | None
    special_texts: Mapping[str, str]
    device: Device
    bert_tokenizer: bool = False


@dataclass(frozen=True)
class Mistake:
    """What an emitter cannot work with. `at`: keys of the recipe, for example `("package", "dify", "author")`."""

    at: tuple[str | int, ...]
    message: str
    hint: str


@dataclass(frozen=True)
class Emitted:
    """What an emitter made. `files`: path in the bundle to content; `facts`: JSON for the manifest.

    `title`: one line for people. `not_verified`: what nobody tried in this build.
    """

    title: str
    files: Mapping[str, bytes]
    facts: Mapping[str, Any] = field(default_factory=dict)
    not_verified: tuple[NotVerified, ...] = ()

    @property
    def digest(self) -> str:
        """One digest over everything that was made: `sha256:<hex>`."""
        files = {path: sha256_bytes(data) for path, data in self.files.items()}
        claims = [n.model_dump(mode="json") for n in self.not_verified]
        return sha256_json({"title": self.title, "files": files, "facts": dict(self.facts), "not_verified": claims})
