"""Nouns of a plan: actions with their reasons and costs, the memory fit, the speed prediction.

Rule: a plan is data; making it has no effect but reads, and running it needs nothing that is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ActionKind = Literal[
    "fetch", "reference", "imatrix", "compile", "quantize", "ranges", "export", "checkpoint", "prove", "compare",
    "onnx_export", "onnx_quantize", "onnx_prove", "onnx_decoder", "onnx_decoder_prove", "graph_prepare",
    "graph_quantize", "graph_prove", "classifier_export", "classifier_quantize", "classifier_prove", "rknn_build",
    "rknn_prove", "rknn_classifier_build", "rknn_classifier_prove", "rknn_graph_build", "rknn_graph_prove",
    "rkllm_build", "rkllm_prove", "emulate", "wheels", "runtime", "bundle",
]  # fmt: skip
# Kinds whose result is a proof: on the artifact's own runtime, or of its bytes in another framework.
PROOFS: frozenset[ActionKind] = frozenset(
    {
        "prove", "compare", "onnx_prove", "onnx_decoder_prove", "graph_prove", "classifier_prove", "rknn_prove",
        "rknn_classifier_prove", "rknn_graph_prove", "rkllm_prove", "emulate",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What an action needs of this machine. Estimates, except `output_bytes` of a compile, which is exact."""

    output_bytes: int = 0
    scratch_bytes: int = 0
    memory_mib: int = 0
    download_bytes: int = 0


@dataclass(frozen=True)
class Action:
    """One step. `key` names its result in the store; `needs` are the names of actions that must have run before.

    `inputs` are digests, or keys of the actions in `needs`; `settings` is everything else the result depends on. Both
    are hashed into `key`. `toolchains`: environments it runs tools in; their locks are among the inputs.
    """

    name: str
    kind: ActionKind
    key: str
    needs: tuple[str, ...]
    inputs: dict[str, str]
    settings: dict[str, Any]
    reason: str
    cached: bool
    cost: Cost
    toolchains: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryItem:
    """One part of the device's memory need."""

    name: str
    mib: float
    detail: str


@dataclass(frozen=True)
class Fit:
    """Whether the model fits the device's memory, with a margin of a tenth of what is available.

    `fits`: with the margin; `tight`: only without it; `no`: not at all, or a limit of the platform forbids it.
    `advice` names the number to change when it does not fit.
    """

    verdict: Literal["fits", "tight", "no"]
    items: tuple[MemoryItem, ...]
    needed_mib: float
    available_mib: float
    advice: str | None
    # The device's memory and what its system keeps of it: `available_mib` is the difference.
    total_mib: float = 0.0
    os_reserve_mib: float = 0.0


@dataclass(frozen=True)
class DiskNeed:
    """Disk the device needs: `copies` bundles, so that the old one stays until the new one is proven.

    `free_mib` is None when the profile does not know it; then `verdict` is `unknown`.
    """

    bundle_mib: float
    copies: int
    needed_mib: float
    free_mib: float | None
    verdict: Literal["fits", "no", "unknown"]
    advice: str | None


@dataclass(frozen=True)
class Speed:
    """Predicted decode speed, as a range in tokens per second.

    `bytes_per_token`: weights and KV cache read per token. `confidence`: `calibrated`, `uncalibrated`, or
    `extrapolated: ...` or `low: ...` with the reason. `requires`: the clock or power state without which it is slower.
    """

    runtime: str
    low_tok_s: float
    high_tok_s: float
    bytes_per_token: int
    confidence: str
    requires: str | None
    provenance: str
    # The runtime's name for people.
    runtime_title: str = ""


@dataclass(frozen=True)
class ArtifactPlan:
    """What one artifact will be. `bytes_by_type`: tensor bytes per tensor type; `output_bytes`: see `is_exact`."""

    name: str
    format: str
    scheme: str
    context: int
    output_bytes: int
    files: tuple[str, ...]
    bytes_by_type: dict[str, int]
    fit: Fit
    speeds: tuple[Speed, ...]
    notes: tuple[str, ...] = field(default=())
    # False where a tool of others writes the files.
    is_exact: bool = True
