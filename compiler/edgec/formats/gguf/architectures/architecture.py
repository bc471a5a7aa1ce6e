"""What one model family has to offer, and what it is given. Rule: a family reads config.json and tensor names only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ....source.model import CheckpointHeader
from ..model import MappedModel
from .config import Config


@dataclass(frozen=True)
class Request:
    """One mapping to make: the checkpoint, its text config, the class it is treated as and the model's public name."""

    header: CheckpointHeader
    config: Config
    class_name: str
    name: str


class Architecture(Protocol):
    """A model family: maps a checkpoint of its class to llama.cpp's architecture.

    Raises InputError, naming the config key or tensor, for whatever it does not know to be right.
    """

    def __call__(self, request: Request, /) -> MappedModel: ...
