"""A model repository as data: which files stand where, below the repository's root.

Rule: files of one repository never overwrite each other, and none leaves that the lint refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgec.deploy.triton.lint import lint_files
from edgec.deploy.triton.model_config import ModelConfig, config_text


@dataclass(frozen=True)
class Model:
    """One folder of a repository. `files`: what stands beside config.pbtxt, relative to the model's folder.

    `expects`: files that are too large for memory; whoever writes the repository puts them there.
    """

    config: ModelConfig
    files: Mapping[str, bytes]
    expects: tuple[str, ...] = ()

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


def expected_files(models: Iterable[Model]) -> tuple[str, ...]:
    """What is to be put into a repository of `models` besides `repository_files`, by path, sorted."""
    return tuple(sorted(f"{model.config.name}/{path}" for model in models for path in model.expects))


def checked_files(models: Sequence[Model]) -> dict[str, bytes]:
    """`repository_files`, without a mistake that the lint finds. Raises ValueError with them: a bug of a layout."""
    files = repository_files(models)
    mistakes = lint_files(files | dict.fromkeys(expected_files(models), b""))
    if mistakes:
        raise ValueError("\n\n".join(m.render() for m in mistakes))
    return files
