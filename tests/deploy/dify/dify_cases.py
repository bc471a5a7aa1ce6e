"""Keys, and models as plans describe them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.deploy.dify.keys import DifySigningKey, new_dify_key, public_path
from edgec.deploy.model import Device, ServedModel

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class KeyFile:
    """A key and where its halves stand."""

    key: DifySigningKey
    private: Path

    @property
    def public(self) -> Path:
        return public_path(self.private)


def made_key(folder: Path, name: str) -> KeyFile:
    """A new key of 2048 bits: the shortest that is taken, and the quickest to make."""
    path = folder / f"{name}.private.pem"
    return KeyFile(new_dify_key(path, bits=2048), path)


def served(**changes: object) -> ServedModel:
    """A small text generator, with changes."""
    facts: dict[str, object] = {
        "name": "small", "version": "1.0.0", "title": "Small 0.1B", "description": None, "licence": "apache-2.0",
        "kind": "decoder", "format": "gguf", "scheme": "q4_k_m", "weights": "sha256:" + "5" * 64,
        "files": ("gguf/small-q4_k_m.gguf",),
        "architecture": "llama", "parameters": 100_000_000, "context": 4096, "batch": 2, "embedding_length": 384,
        "pooling": None, "chat_template": CHATML, "special_texts": {},
        "device": Device("pi5-8gb", "Raspberry Pi 5, 8 GB", "aarch64", 4, 7424.0, 300.0),
    }  # fmt: skip
    return ServedModel(**{**facts, **changes})  # type: ignore[arg-type]
