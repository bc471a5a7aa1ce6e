"""What an unpacked bundle has that servers can be tried with here, or why there is nothing.

Rule: a hint names only what a recipe of this bundle's kind can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgec.bundle.content import MANIFEST_PATH
from edgec.bundle.manifest import Manifest, parse_manifest
from edgec.errors import InputError

# Where a bundle has its model repository.
REPOSITORY = "triton/models"
_ENGINE_FORMATS = ("edgellm", "trtllm")
_BROWSER = "wasm32"


def triton_models(bundle: Path) -> list[str]:
    """The models of the bundle's Triton repository. Raises InputError when it has none that can be served here."""
    manifest = _manifest(bundle)
    if manifest.deployment.get("triton", {}).get("backend") == "tensorrtllm":
        raise InputError.of(
            "the bundle's Triton repository cannot be tried here: its engine is built on the device",
            hint="on the device, finalize the bundle and start Triton as triton/README.md in it says; here, verify "
            "without --run triton",
        )
    names = sorted(path.parent.name for path in (bundle / REPOSITORY).glob("*/config.pbtxt"))
    if not names:
        raise InputError.of("the bundle holds no Triton model repository", hint=_without_triton(manifest))
    return names


def dify_package(bundle: Path) -> tuple[Manifest, Mapping[str, Any]]:
    """The bundle's manifest, and what it says of its Dify package. Raises InputError when it has none."""
    manifest = _manifest(bundle)
    facts = manifest.deployment.get("dify")
    if facts is None:
        raise InputError.of("the bundle holds no Dify package", hint=_without_dify(manifest))
    return manifest, facts


def _manifest(bundle: Path) -> Manifest:
    return parse_manifest((bundle / MANIFEST_PATH).read_bytes())


def _without_triton(manifest: Manifest) -> str:
    served = manifest.artifacts[0].format
    if served == "gguf" and not _is_for_a_browser(manifest):
        return "build it with `package: {triton: {}}` in the recipe, or verify without --run triton"
    if served == "trtllm":
        return "its recipe says `package: {triton: null}`; verify without --run triton"
    return f"{_no_server(manifest)}: verify without --run triton{_on_the_device(manifest)}"


def _without_dify(manifest: Manifest) -> str:
    if manifest.artifacts[0].format == "gguf" and not _is_for_a_browser(manifest):
        return "build it with `package: {dify: {author: ...}}` in the recipe, or verify without --run dify"
    return f"{_no_server(manifest)}: verify without --run dify{_on_the_device(manifest)}"


def _no_server(manifest: Manifest) -> str:
    if _is_for_a_browser(manifest):
        return "a bundle for a browser has none"
    return f"a bundle whose first artifact is `{manifest.artifacts[0].format}` has none"


def _on_the_device(manifest: Manifest) -> str:
    is_engine = manifest.artifacts[0].format in _ENGINE_FORMATS
    return "; `edgec device finalize` proves its engine on the device" if is_engine else ""


def _is_for_a_browser(manifest: Manifest) -> bool:
    return bool(manifest.target.get("isa", {}).get("arch") == _BROWSER)
