"""A model repository as data: which files stand where, below the repository's root.

Rule: files of one repository never overwrite each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgec.deploy.triton.model_config import ModelConfig, config_text


@dataclass(frozen=True)
class Model:
    """One folder of a repository. `files`: what stands beside config.pbtxt, relative to the model's folder."""

    config: ModelConfig
    files: Mapping[str, bytes]

    def repository_files(self) -> dict[str, bytes]:
        """All its files, relative to the repository."""
        name = self.config.name
        return {f"{name}/config.pbtxt": config_text(self.config)} | {
            f"{name}/{path}": data for path, data in self.files.items()
        }


def repository_files(models: Iterable[Model]) -> dict[str, bytes]:
    """The files of a repository of `models`, by path, sorted. Raises ValueError when two models have one name."""
    files: dict[str, bytes] = {}
    for model in models:
        added = model.repository_files()
        twice = files.keys() & added.keys()
        if twice:
            raise ValueError(f"two models write {min(twice)}")
        files |= added
    return dict(sorted(files.items()))
