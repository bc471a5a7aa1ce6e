"""One digest over everything a whole build depends on, from documents, headers and remembered file digests alone.

Rule: it changes whenever any action key of the build would change, so that an equal fingerprint means nothing to do;
it may change when no key does, which only costs a plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import edgec
from edgec.documents.canonical import sha256_json
from edgec.documents.files import is_file, is_folder, names_in
from edgec.formats.image_settings import ENDINGS
from edgec.plan.keys import builder_platform, every_tool, source_key
from edgec.plan.origin import PlannedSource, Signer
from edgec.recipe.load import LoadedRecipe
from edgec.target.model import Target
from edgec.toolchain.definition import find_toolchain

# Formats whose toolchain, of the same name, needs a wheel of the user.
_BROUGHT = frozenset({"rkllm"})

# Files that make up a folder of samples.
_SAMPLES = (*ENDINGS, ".npy", ".npz")


def build_fingerprint(
    loaded: LoadedRecipe,
    target: Target,
    source: PlannedSource,
    signers: Sequence[Signer | None],
    digest_file: Callable[[Path], str],
) -> str:
    """The fingerprint of a build: `sha256:<hex>`. `signers`: of the bundle and of the Dify package, if there is one.

    `digest_file` may answer from memory.
    """
    return sha256_json(
        {
            "recipe": loaded.document,
            "files": _named_files(loaded, digest_file),
            "target": target.model_dump(mode="json", by_alias=True),
            "source": source_key(source.header.identity),
            "identity": [source.header.identity.uri, source.header.identity.licence],
            "signers": [None if s is None else [s.fingerprint, s.is_development] for s in signers],
            "tools": every_tool(),
            "platform": builder_platform(),
            "code": _code(),
            "user_wheels": _user_wheels(loaded, digest_file),
        }
    )


def _user_wheels(loaded: LoadedRecipe, digest_file: Callable[[Path], str]) -> dict[str, str]:
    """Digests of the wheels that the user brings to the recipe's toolchains; empty for one that is not there."""
    wanted = (find_toolchain(name).user_wheel for name in {a.format for a in loaded.recipe.artifacts} & _BROUGHT)
    paths = {w.variable: Path(os.environ.get(w.variable, "")).expanduser() for w in wanted if w is not None}
    return {variable: digest_file(path) if is_file(path) else "" for variable, path in sorted(paths.items())}


def _named_files(loaded: LoadedRecipe, digest_file: Callable[[Path], str]) -> dict[str, str]:
    """Digests of every file that a value of the recipe names, and of the samples in each folder that one names."""
    paths = {value: loaded.resolve(value) for value in _texts(loaded.document)}
    samples = {
        f"{value}/{name}": path / name
        for value, path in paths.items()
        if is_folder(path)
        for name in names_in(path)
        if name.lower().endswith(_SAMPLES)
    }
    return {value: digest_file(path) for value, path in sorted({**paths, **samples}.items()) if is_file(path)}


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)


def _code() -> str:
    """A stamp of edgec's own files: who changes edgec, or installs another one, gets new results."""
    package = Path(edgec.__file__).parent
    files = (p for p in sorted(package.rglob("*")) if p.suffix in {".py", ".j2", ".js", ".css", ".txt", ".json"})
    return sha256_json([[str(p.relative_to(package)), p.stat().st_size, p.stat().st_mtime_ns] for p in files])
