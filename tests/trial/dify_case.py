"""Dify packages of models that tests serve, and the plugin in its process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import rsa

from edgec.deploy.dify.emit import emit
from edgec.deploy.dify.keys import DifySigningKey
from edgec.deploy.dify.package import read_package, write_package
from edgec.deploy.dify.signature import sign_package
from edgec.deploy.model import Device, ServedModel
from edgec.recipe.package import DifyPackage
from edgec.trial.dify import unpack
from edgec.trial.dify_process import PluginProcess, running

SERVER_KEY = "sk-right"
KEY = DifySigningKey(rsa.generate_private_key(public_exponent=65537, key_size=2048))
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def served_model(
    kind: Literal["decoder", "encoder", "reranker"], *, context: int, chat_template: str | None = None
) -> ServedModel:
    """A model as its plan would describe it; what a plugin does not look at is anything."""
    return ServedModel(
        name="small", version="1.0.0", title="Small", description=None, licence=None, kind=kind, format="gguf",
        scheme="q8_0", weights="sha256:" + "5" * 64, files=("gguf/small.gguf",), architecture="any",
        parameters=1, context=context, batch=1, embedding_length=384, pooling=None if kind == "decoder" else "mean",
        chat_template=chat_template, special_texts={},
        device=Device("pi5-8gb", "Raspberry Pi 5", "aarch64", 4, 8000.0, 10.0),
    )  # fmt: skip


def write_signed(folder: Path, model: ServedModel) -> Path:
    """The `.difypkg` of the model, signed with `KEY`."""
    ((name, data),) = emit(DifyPackage(author="acme"), model, Path).files.items()
    path = folder / Path(name).name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_package(sign_package(read_package(data), KEY)))
    return path


@dataclass(frozen=True)
class Plugin:
    """A plugin that runs. `id` and `type`: of its only model."""

    process: PluginProcess
    id: str
    type: str

    def request(self, endpoint: str, key: str = "") -> dict[str, Any]:
        """What every request for the model says."""
        return {
            "model": self.id, "model_type": self.type, "credentials": {"endpoint_url": endpoint, "api_key": key},
        }  # fmt: skip

    def chunks(self, endpoint: str, say: str, *, key: str = "", **changes: Any) -> list[dict[str, Any]]:
        """The `delta` of each chunk of an answer. `changes`: other fields of the request."""
        request = {
            "prompt_messages": [{"role": "user", "content": say}], "model_parameters": {"max_tokens": 32},
            "stop": None, "tools": None, "stream": True, **changes,
        }  # fmt: skip
        return [c["delta"] for c in self.process.call("invoke_llm", **self.request(endpoint, key), **request)]


@contextlib.contextmanager
def plugin_of(python: Path, folder: Path, model: ServedModel, **env: str) -> Iterator[Plugin]:
    """The model's plugin in its process."""
    package = write_signed(folder, model)
    unpack(read_package(package.read_bytes()), folder / "plugin")
    id_, type_ = {
        "decoder": ("small", "llm"),
        "encoder": ("small-q8_0-384d-55555555", "text-embedding"),
        "reranker": ("small-q8_0", "rerank"),
    }[model.kind]
    with running(python, folder / "plugin", provider="small", log=folder / "plugin.log", env=env) as process:
        yield Plugin(process, id_, type_)


def text_of(deltas: list[dict[str, Any]]) -> str:
    """The whole text of an answer."""
    return "".join(delta["message"]["content"] for delta in deltas)
