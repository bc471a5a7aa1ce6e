"""Nouns of a Triton model: its configuration as typed data, and the text of its config.pbtxt.

Rule: one template writes every configuration; each value passes through one of two filters, so that no value can end
its text or stand for another field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgec.deploy.triton.interface import DataType, Tensor
from edgec.deploy.triton.templates import render

InstanceKind = Literal["KIND_CPU", "KIND_GPU"]


@dataclass(frozen=True)
class Queue:
    """Requests that wait for a model: at most `size`, each at most `timeout_ms`; the rest are refused."""

    size: int
    timeout_ms: int

    @property
    def timeout_us(self) -> int:
        """`timeout_ms` as Triton wants it."""
        return self.timeout_ms * 1000


@dataclass(frozen=True)
class DynamicBatching:
    """Single requests joined into one batch. `max_delay_us`: how long the first one waits for others."""

    queue: Queue
    max_delay_us: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class WarmUpInput:
    """One input of a warm-up request: zeros, or the content of `file` below the model's `warmup/` folder."""

    name: str
    data_type: DataType
    dims: tuple[int, ...]
    file: str | None = None


@dataclass(frozen=True)
class WarmUp:
    """A request that Triton runs when the model is loaded, before the model is ready."""

    name: str
    inputs: tuple[WarmUpInput, ...]
    batch_size: int = 1


@dataclass(frozen=True)
class Step:
    """One model of an ensemble. `inputs`, `outputs`: the model's tensor to the ensemble's."""

    model_name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Reshape:
    """A tensor that a client sends with its own `dims` and the backend takes with `shape` (empty: one per request)."""

    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelConfig:
    """One model of a repository. `backend` None: an ensemble of `steps`.

    `max_batch_size` 0: tensors have no batch dimension. `served_versions`: how many of the newest are served at once.
    `reshapes`: by tensor name. `ragged`: inputs that are batched without padding.
    """

    name: str
    backend: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int = 0
    decoupled: bool = False
    instances: int = 1
    instance_kind: InstanceKind = "KIND_CPU"
    served_versions: int = 1
    batching: DynamicBatching | None = None
    warm_up: tuple[WarmUp, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    default_file: str | None = None
    accelerator: Literal["openvino", "tensorrt"] | None = None
    reshapes: Mapping[str, Reshape] = field(default_factory=dict)
    ragged: frozenset[str] = frozenset()


def config_text(config: ModelConfig) -> bytes:
    """config.pbtxt of `config`. Equal data, equal bytes."""
    return render("config.pbtxt.j2", config=config)
