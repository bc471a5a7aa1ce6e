"""Action keys: what a result depends on, hashed. Same key, same bytes; anything else is a bug of the key.

Rule: a key names its inputs by digest or by the key of the action that makes them, never by path or time.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from edgec import __version__
from edgec.deploy.web.runtime import every_runtime
from edgec.documents.canonical import sha256_file, sha256_json
from edgec.plan.model import Action
from edgec.source.model import SourceIdentity
from edgec.toolchain.definition import find_toolchain, toolchains_folder

# Raised when a step of ours starts to give other results for the same settings: older results are then not used.
REVISIONS: Mapping[str, int] = {
    "fetch": 1,
    "reference": 1,
    "imatrix": 1,
    "compile": 1,
    "quantize": 1,
    "ranges": 1,
    "export": 1,
    "checkpoint": 1,
    "prove": 1,
    "compare": 1,
    "onnx_export": 2,
    "onnx_quantize": 4,
    "onnx_prove": 2,
    "onnx_decoder": 1,
    "onnx_decoder_prove": 1,
    "emulate": 2,
    "rknn_build": 1,
    "rknn_prove": 1,
    "rkllm_build": 1,
    "rkllm_prove": 1,
    "classifier_export": 1,
    "classifier_quantize": 2,
    "classifier_prove": 1,
    "graph_prepare": 2,
    "graph_quantize": 2,
    "graph_prove": 2,
    "rknn_classifier_build": 1,
    "rknn_classifier_prove": 1,
    "rknn_graph_build": 1,
    "rknn_graph_prove": 2,
    "wheels": 1,
    "runtime": 2,
    "bundle": 2,
}

# Files of a checkpoint that no weight, token or logit depends on, by how their names start.
_TEXTS = ("README", "LICENSE", "LICENCE", "NOTICE", "USE_POLICY")

# Tools whose version is part of the result. A bundle names those of all its actions.
_TOOLS: Mapping[str, tuple[str, ...]] = {
    "fetch": (),
    "reference": (),
    "imatrix": ("xllamacpp",),
    "compile": ("xllamacpp",),
    "quantize": ("numba", "numpy", "tokenizers"),
    "ranges": ("numba", "numpy", "tokenizers"),
    "export": (),
    "checkpoint": ("numpy",),
    "prove": ("xllamacpp", "tokenizers"),
    "compare": ("tokenizers",),
    "onnx_export": (),
    "onnx_quantize": ("tokenizers",),
    "onnx_prove": ("numpy", "tokenizers"),
    "onnx_decoder": (),
    "onnx_decoder_prove": ("tokenizers",),
    "emulate": ("tokenizers",),
    "rknn_build": ("tokenizers",),
    "rknn_prove": ("numpy", "tokenizers"),
    "rkllm_build": ("tokenizers",),
    "rkllm_prove": ("tokenizers",),
    "classifier_export": (),
    "classifier_quantize": ("numpy", "pillow"),
    "classifier_prove": ("numpy", "pillow"),
    "graph_prepare": (),
    "graph_quantize": ("numpy", "pillow"),
    "graph_prove": ("numpy", "pillow"),
    "rknn_classifier_build": ("numpy", "pillow"),
    "rknn_classifier_prove": ("numpy", "pillow"),
    "rknn_graph_build": ("numpy", "pillow"),
    "rknn_graph_prove": ("numpy", "pillow"),
    "wheels": (),
    "runtime": (),
    "bundle": (),
}
# Kinds whose result does not depend on the machine that makes it.
_PORTABLE = frozenset({"fetch", "reference", "runtime", "wheels"})


def builder_platform() -> str:
    """The platform results are bound to where compiled code makes them, for example `linux-x86_64`.

    llama.cpp's quantizers give other bytes on other platforms (ggml-org/llama.cpp#25353).
    """
    return f"{platform.system()}-{platform.machine()}".lower()


def tool_versions(kind: str) -> dict[str, str]:
    """Versions of the tools that the results of `kind` depend on."""
    return {name: version(name) for name in _TOOLS[kind]}


def made_with(actions: Iterable[Action]) -> dict[str, str]:
    """Name to version, or to `sha256:<hex>` of a lock, of everything a bundle of these actions was made with."""
    found: dict[str, str] = {}
    for action in actions:
        found |= tool_versions(action.kind)
        if action.kind == "runtime":
            for runtime in (r for r in every_runtime() if r.package in action.inputs):
                found |= {f"npm {runtime.package}": runtime.version, f"npm {runtime.package} tarball": runtime.digest}
        for name in action.toolchains:
            toolchain = find_toolchain(name)
            # The runtimes of the emulation need not be those of the proof.
            own = "emulated " if action.kind == "emulate" else ""
            pinned = {f"{own}{tool}": number for tool, number in toolchain.pinned.items()}
            found |= {**pinned, f"toolchain {name}": toolchain.lock_digest}
            if toolchain.user_wheel is not None:
                tool = toolchain.user_wheel.distribution
                found |= {tool: toolchain.user_wheel.version, f"{tool} wheel": action.inputs[f"{tool} wheel"]}
    return {"edgec": __version__, **dict(sorted(found.items()))}


def every_tool() -> dict[str, str]:
    """All that any action could depend on, by name: for a build's fingerprint."""
    locks = {path.name: sha256_file(path) for path in sorted(toolchains_folder().glob("*.lock"))}
    versions = [tool_versions(kind) for kind in _TOOLS]
    return {"edgec": __version__, **{name: v for found in versions for name, v in found.items()}, **locks}


def action_key(kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key of an action: `sha256:<hex>`. `settings` must be JSON; `inputs` are digests or keys."""
    tools = tool_versions(kind)
    bound = None if kind in _PORTABLE else builder_platform()
    return sha256_json(
        {
            "kind": kind,
            # A release is built and proven by its own code, never by an older one's results.
            "edgec": __version__,
            "revision": REVISIONS[kind],
            "settings": dict(settings),
            "inputs": dict(inputs),
            "tools": tools,
            "platform": bound,
        }
    )


def source_key(identity: SourceIdentity) -> str:
    """The digest of a checkpoint: its files by name and content, wherever they stand."""
    return sha256_json({f.name: f.digest for f in identity.files})


def model_key(identity: SourceIdentity) -> str:
    """As `source_key`, without the texts for people: a new model card must not quantize again."""
    return sha256_json({f.name: f.digest for f in identity.files if not f.name.startswith(_TEXTS)})
