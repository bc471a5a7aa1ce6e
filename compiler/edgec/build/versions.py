"""The tools a bundle says it was made with."""

from __future__ import annotations

from importlib.metadata import version

from edgec import __version__


def tool_versions() -> dict[str, str]:
    """Name to version, of edgec and of the packages whose code shapes the bundle."""
    return {"edgec": __version__, **{name: version(name) for name in ("gguf", "tokenizers", "xllamacpp")}}
