"""The lint of a model repository: every config.pbtxt parsed, then what the parser takes and the server refuses.

Rule: every mistake of every model is found in one go, each at its line; nothing is written or started.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgec.deploy.triton.lint.config_file import ConfigFile, Finding, parse_config
from edgec.deploy.triton.lint.ensemble_rules import ensemble_findings
from edgec.deploy.triton.lint.folder_rules import folder_findings
from edgec.deploy.triton.lint.scheduling_rules import scheduling_findings
from edgec.deploy.triton.lint.tensor_rules import tensor_findings
from edgec.deploy.triton.lint.warm_up_rules import warm_up_findings
from edgec.errors import Diagnostic, InputError

CONFIG = "config.pbtxt"
# Deep enough for every file that a rule asks for; a folder that links to itself ends here too.
_DEPTH = 6
# Where a bundle, and its folder `triton`, have their repository.
_BUNDLE_REPOSITORIES = ("triton/models", "models")


def lint_files(files: Mapping[str, bytes], *, has_gpu: bool | None = None) -> tuple[Diagnostic, ...]:
    """Mistakes in a repository that is not on disk: its files by their paths relative to the repository."""
    configs = {path: data for path, data in files.items() if path.count("/") == 1 and path.endswith(f"/{CONFIG}")}
    models = sorted({path.split("/")[0] for path in files})
    return _lint(configs, frozenset(files), models, prefix="", has_gpu=has_gpu)


def lint_repository(folder: Path, *, has_gpu: bool | None = None) -> tuple[Diagnostic, ...]:
    """Mistakes in the model repository `folder`; empty if Triton should load every model.

    `has_gpu`: whether the device has a GPU that Triton can use; None when it is not known. Raises InputError when
    `folder` is no model repository.
    """
    if not folder.is_dir():
        raise InputError.of("no such folder", place=str(folder), hint="name the folder that holds the models' folders")
    models = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not models:
        hint = "a repository holds one folder per model, each with config.pbtxt and version folders"
        raise InputError.of("no models in this folder", place=str(folder), hint=hint)
    if (folder / CONFIG).is_file():
        hint = f"name the folder above it, {folder.parent}"
        raise InputError.of("this is a model's folder, not a repository", place=str(folder), hint=hint)
    for inside in _BUNDLE_REPOSITORIES:
        if not any((folder / m / CONFIG).is_file() for m in models) and any((folder / inside).glob(f"*/{CONFIG}")):
            raise InputError.of("this is a bundle, not a repository", place=str(folder), hint=f"name {folder / inside}")
    configs = {f"{m}/{CONFIG}": (folder / m / CONFIG).read_bytes() for m in models if (folder / m / CONFIG).is_file()}
    return _lint(configs, frozenset(_walk(folder)), models, prefix=f"{folder}/", has_gpu=has_gpu)


def _walk(folder: Path) -> Iterator[str]:
    """Paths below `folder`, links followed as Triton does; folders end with `/`."""
    for where, folders, files in os.walk(folder, followlinks=True):
        inside = Path(where).relative_to(folder)
        if len(inside.parts) >= _DEPTH:
            folders.clear()
        yield from ((inside / name).as_posix() for name in files)
        yield from (f"{(inside / name).as_posix()}/" for name in folders)


def _lint(
    configs: Mapping[str, bytes], files: frozenset[str], models: list[str], *, prefix: str, has_gpu: bool | None
) -> tuple[Diagnostic, ...]:
    found: list[Diagnostic] = []
    parsed: dict[str, ConfigFile] = {}
    for model in models:
        path = f"{model}/{CONFIG}"
        if path not in configs:
            hint = "write one; without it, Triton guesses the tensors, and only for some backends"
            found.append(Diagnostic(f"no {CONFIG}", hint, place=f"{prefix}{model}"))
            continue
        try:
            parsed[model] = parse_config(configs[path], f"{prefix}{path}", model)
        except InputError as error:
            found += error.diagnostics
    for model, config in parsed.items():
        own = frozenset(path[len(model) + 1 :] for path in files if path.startswith(f"{model}/"))
        found += [config.diagnostic(f) for f in _findings(config, own, parsed, has_gpu)]
    return tuple(sorted(found, key=_order))


def _findings(
    config: ConfigFile, files: frozenset[str], models: Mapping[str, ConfigFile], has_gpu: bool | None
) -> Iterator[Finding]:
    yield from folder_findings(config, files)
    yield from scheduling_findings(config, has_gpu=has_gpu)
    yield from tensor_findings(config)
    yield from warm_up_findings(config, files)
    yield from ensemble_findings(config, models)


def _order(mistake: Diagnostic) -> tuple[str, int, int]:
    if mistake.span is None:
        return (mistake.place or "", 0, 0)
    return (mistake.span.file, mistake.span.line, mistake.span.column)
