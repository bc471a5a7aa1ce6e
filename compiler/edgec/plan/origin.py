"""Where a build's model comes from, who will sign it and what it will be called: known before anything is planned.

Rule: a build with nothing to do stops here, so that this file knows no format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter, silent
from edgec.recipe.load import LoadedRecipe
from edgec.source.hub import HubSource, fetch_header
from edgec.source.local import open_local
from edgec.source.model import CheckpointHeader
from edgec.source.onnx_model import is_graph, open_onnx
from edgec.target.model import Target


@dataclass(frozen=True)
class PlannedSource:
    """Where the checkpoint is read from: a local folder, or a commit on the hub."""

    header: CheckpointHeader
    folder: Path | None
    hub: HubSource | None
    offline: bool


@dataclass(frozen=True)
class Signer:
    """Who will sign: the fingerprint of the key, and whether it is a development key nobody vouches for."""

    fingerprint: str
    is_development: bool


def open_source(
    loaded: LoadedRecipe, *, offline: bool, digest_file: Callable[[Path], str], report: Reporter = silent
) -> PlannedSource:
    """The model's header: from a local folder or file, or from the hub by range requests."""
    source = loaded.recipe.source
    if source.path is not None:
        folder = loaded.resolve(source.path)
        if is_graph(source.path):
            model = open_onnx(folder, licence=source.licence, digest_file=digest_file)
            return PlannedSource(model.header, model.root, None, offline)
        checkpoint = open_local(folder, licence=source.licence, digest_file=digest_file)
        return PlannedSource(checkpoint.header, folder, None, offline)
    hub = HubSource(repo=source.hub or "", revision=source.revision or "")
    return PlannedSource(fetch_header(hub, offline=offline, licence=source.licence, report=report), None, hub, offline)


def bundle_name(loaded: LoadedRecipe, target: Target) -> str:
    """The name of the bundle's folder."""
    return f"{loaded.recipe.name}-{loaded.recipe.version}-{target.name}"
