"""What one model family has to offer, and what it is given. Rule: a family reads config.json and tensor names only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.metadata import MetadataWriter, general_entries
from edgec.formats.gguf.architectures.tensors import TensorLedger
from edgec.formats.gguf.model import MappedModel, ModelKind, ModelShape
from edgec.source.model import CheckpointHeader


@dataclass(frozen=True)
class Request:
    """One mapping to make: the checkpoint, its config.json and the model's public name."""

    header: CheckpointHeader
    config: Config
    name: str


class Architecture(Protocol):
    """A model family: maps a checkpoint of its class to llama.cpp's architecture.

    Raises InputError, naming the config key or tensor, for whatever it does not know to be right.
    """

    def __call__(self, request: Request, /) -> MappedModel: ...


def finish(
    request: Request,
    metadata: MetadataWriter,
    ledger: TensorLedger,
    shape: ModelShape,
    *,
    kind: ModelKind = "decoder",
    notes: tuple[str, ...] = (),
) -> MappedModel:
    """Closes the ledger and puts the model together."""
    tensors = ledger.close()
    general = general_entries(metadata.arch, request.name, request.header, tensors)
    return MappedModel(metadata.arch, kind, shape, (*general, *metadata.entries()), tensors, notes)
