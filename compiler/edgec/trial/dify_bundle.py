"""Tries the Dify package of an unpacked bundle: its signature as the bundle vouches for it, with its model behind it.

Rule: what the package must be is said by the bundle's manifest, which the bundle's own signature covers. Where
xllamacpp is not installed, the plugin is started and no model answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from edgec.bundle.manifest import Manifest
from edgec.deploy.dify.keys import load_dify_public_key
from edgec.events import Note, Reporter, silent
from edgec.prove.model import Check
from edgec.toolchain.environment import Environment
from edgec.trial.dify import try_dify
from edgec.trial.llama_server import can_serve, serving
from edgec.trial.triable import dify_package

_KINDS: dict[str, Literal["decoder", "encoder", "reranker"]] = {
    "llm": "decoder",
    "text-embedding": "encoder",
    "rerank": "reranker",
}


def try_dify_bundle(
    bundle: Path, *, environment: Environment, report: Reporter = silent, logs: Path
) -> tuple[Check, ...]:
    """Tries the bundle's package; the checks say what held and what did not. Logs: `dify.log`, `dify-server.log`.

    Raises InputError when the bundle has no Dify package, ToolError when its model cannot be served.
    """
    manifest, facts = dify_package(bundle)
    logs.mkdir(parents=True, exist_ok=True)
    with _server(bundle, manifest, facts["models"][0], logs, report) as endpoint:
        return try_dify(
            bundle / facts["path"],
            environment=environment,
            keys=[load_dify_public_key(bundle / facts["public_key_path"])],
            unique_id=facts["unique_id"],
            endpoint=endpoint,
            report=report,
            logs=logs,
        )


def _server(
    bundle: Path, manifest: Manifest, model: Mapping[str, Any], logs: Path, report: Reporter
) -> AbstractContextManager[str | None]:
    """The bundle's model on a server, as its base URL; None where it cannot be served."""
    gguf = next((a.files[0] for a in manifest.artifacts if a.format == "gguf"), None)
    if gguf is None or not can_serve():
        why = "the bundle has no GGUF" if gguf is None else "xllamacpp is not installed here"
        report(Note(f"{why}: the Dify plugin is started, but no model answers it", "warning"))
        return nullcontext()
    return serving(bundle / gguf, kind=_KINDS[model["type"]], context=model["context"], log=logs / "dify-server.log")
