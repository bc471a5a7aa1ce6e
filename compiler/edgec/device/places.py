"""Where engines stand on a device, and which one is in use.

    engines/<bundle>/<artifact>/<key>/engine/       the engine that was proven
                                      engine.new/   one that is being built or proven
                                      bundle/       the bundle's files that the build reads
                                      receipt.json, journal.jsonl, build.log, proof.log
    engines/<bundle>/<artifact>/current -> <key>    the engine in use; `previous` -> the one before it

Rule: `current` changes in one step and only to an engine that was proven; a stand-in's have a root of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.device.facts import DeviceFacts
from edgec.device.match import tensorrt_fact
from edgec.device.vendor import Versions
from edgec.documents.canonical import sha256_file, sha256_json
from edgec.store.atomic import explained, fsync_folder

_KEY_CHARS = 16
_CURRENT = "current"
_PREVIOUS = "previous"


def engines_root(state: Path, *, stand_in: bool) -> Path:
    """The folder of all engines; what a stand-in made is kept apart from them."""
    return state / ("engines-stand-in" if stand_in else "engines")


def engine_key(manifest_digest: str, plan: FinalizePlan, facts: DeviceFacts, versions: Versions) -> str:
    """The name of an engine's folder: of the bundle and of all that an engine is tied to."""
    tied = {
        "bundle": manifest_digest,
        "artifact": plan.artifact,
        "backend": [plan.backend.name, versions.backend],
        "sm": facts.sm.value,
        "cuda": facts.cuda.value,
        "driver": facts.driver.value,
        "tensorrt": tensorrt_fact(facts, versions).value,
    }
    return sha256_json(tied).removeprefix("sha256:")[:_KEY_CHARS]


@dataclass(frozen=True)
class EnginePlace:
    """The folder of one engine. `shelf`: the folder of all engines of this artifact."""

    shelf: Path
    key: str

    @property
    def folder(self) -> Path:
        """What belongs to this engine."""
        return self.shelf / self.key

    @property
    def engine(self) -> Path:
        """The engine that was proven."""
        return self.folder / "engine"

    @property
    def fresh(self) -> Path:
        """An engine that is not proven yet."""
        return self.folder / "engine.new"

    @property
    def bundle(self) -> Path:
        """The bundle's files that the build and the proof read."""
        return self.folder / "bundle"

    @property
    def journal(self) -> Path:
        """How far the work is."""
        return self.folder / "journal.jsonl"

    @property
    def receipt(self) -> Path:
        """The signed receipt of `engine`."""
        return self.folder / "receipt.json"

    @property
    def fresh_receipt(self) -> Path:
        """The signed receipt of `fresh`."""
        return self.folder / "receipt.new.json"

    @property
    def build_log(self) -> Path:
        """What the vendor's builder said, last time."""
        return self.folder / "build.log"

    @property
    def proof_log(self) -> Path:
        """What the vendor's runtime said, last time."""
        return self.folder / "proof.log"

    def is_current(self) -> bool:
        """Whether this is the engine in use."""
        return _target(self.shelf / _CURRENT) == self.key

    def make_current(self) -> None:
        """Puts this engine into use, and remembers the one before it. Raises ToolError."""
        old = _target(self.shelf / _CURRENT)
        with explained(self.shelf):
            if old is not None and old != self.key:
                _point(self.shelf / _PREVIOUS, old)
            _point(self.shelf / _CURRENT, self.key)

    def remove_scratch(self) -> None:
        """Removes what writers that were killed left beside the engine. Raises ToolError."""
        with explained(self.folder):
            for path in self.folder.glob(".*.tmp"):
                path.unlink()

    def remove_older(self) -> tuple[str, ...]:
        """Removes all engines but those in use now and before; returns their keys. Raises ToolError."""
        kept = {_target(self.shelf / _CURRENT), _target(self.shelf / _PREVIOUS)}
        with explained(self.shelf):
            older = [
                path
                for path in self.shelf.iterdir()
                if not path.is_symlink() and path.is_dir() and path.name not in kept
            ]
            for path in older:
                shutil.rmtree(path)
        return tuple(sorted(path.name for path in older))


def file_digests(folder: Path) -> dict[str, dict[str, str | int]]:
    """Relative path -> digest and size in bytes of every file below `folder`. Raises OSError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {
        path.relative_to(folder).as_posix(): {"digest": sha256_file(path), "size_bytes": path.stat().st_size}
        for path in paths
    }


def holds(folder: Path, files: Mapping[str, Mapping[str, str | int]]) -> bool:
    """Whether `folder` holds exactly these files, to the byte."""
    try:
        return (
            bool(files) and not folder.is_symlink() and file_digests(folder) == {k: dict(v) for k, v in files.items()}
        )
    except OSError:
        return False


def _target(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except OSError:
        return None


def _point(link: Path, target: str) -> None:
    """Makes `link` lead to its sibling `target`, in one step."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    fsync_folder(link.parent)
