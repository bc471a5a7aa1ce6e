"""The target profile: what is known about a device, with the provenance of every number.

Rule: a number without a provenance is not accepted; what was not measured says so in its provenance.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(_Doc):
    """Where a number comes from."""

    kind: Literal["measured", "source", "datasheet", "estimate"]
    source: str = Field(description="A document, a benchmark or a command a person can look up.")
    note: str | None = None


class Isa(_Doc):
    """Instruction set of the CPU."""

    arch: Literal["aarch64", "x86_64", "wasm32"]
    march: str
    features: tuple[str, ...]
    qemu_cpu: str | None = None
    provenance: Provenance


class Cpu(_Doc):
    """Cores used for decoding."""

    model: str
    perf_cores: int = Field(ge=1)
    threads: int = Field(ge=1)
    provenance: Provenance


class Memory(_Doc):
    """Memory the model shares with everything else on the device."""

    total_mib: int
    os_reserve_mib: int = Field(description="Operating system and other services; not available to the model.")
    max_allocation_mib: int | None = Field(None, description="Largest single allocation, where the platform limits it.")
    provenance: Provenance


class Bandwidth(_Doc):
    """Memory bandwidth. `theoretical_gbs` in 1e9 bytes per second."""

    theoretical_gbs: float
    requires: str | None = Field(None, description="The clock or power state in which it holds.")
    provenance: Provenance


class Accelerator(_Doc):
    """A GPU or an NPU."""

    kind: Literal["cuda", "rknpu", "webgpu"]
    sm: int | None = None
    npu_cores: int | None = None
    allowed_dtypes: tuple[str, ...]
    refused_dtypes: dict[str, str] = Field(default_factory=dict, description="dtype -> why, and what to use instead.")
    max_context: int | None = None
    provenance: Provenance


class SpeedModel(_Doc):
    """Decode time per token = t0 + bytes read / effective bandwidth. `bw_eff_gbs` is a range [low, high] in 1e9 bytes/s."""

    quant_family: Literal["any", "q4", "q8", "f16", "w8a8", "int4"] = "any"
    bw_eff_gbs: tuple[float, float]
    t0_ms: float = 0.0
    requires: str | None = None
    confidence: Literal["calibrated", "uncalibrated"]
    provenance: Provenance


class Runtime(_Doc):
    """One runtime on this device: the formats it serves and how fast it decodes."""

    formats: tuple[Literal["gguf", "onnx", "edgellm", "trtllm", "rknn", "rkllm"], ...]
    schemes: tuple[str, ...] = Field(description="Quantization schemes it serves, as recipes spell them.")
    refused_schemes: dict[str, str] = Field(default_factory=dict, description="scheme -> why, and what to use instead.")
    repacked_types: tuple[str, ...] = Field(
        (), description="Tensor types copied into anonymous memory in another layout at load."
    )
    constant_mib: int = Field(0, description="Memory the runtime itself takes, for example a CUDA context.")
    kv_bytes: int = Field(2, description="Bytes per element of the KV cache.")
    n_ubatch: int = Field(512, description="Physical batch; sizes the compute buffer.")
    speed: tuple[SpeedModel, ...]
    provenance: Provenance


class Storage(_Doc):
    """Disk of the device. `ab_slots`: bundles kept at once (2 = the old one stays until the new one is proven)."""

    free_mib: int | None = None
    ab_slots: int = 2
    max_file_mib: int | None = Field(
        None, description="Largest single file the platform can hold; shards are made below it."
    )
    provenance: Provenance


class Browser(_Doc):
    """What a browser must offer."""

    threads_need: str
    memory64: str
    provenance: Provenance


class PowerMode(_Doc):
    """A power mode and the bandwidth or clocks it allows."""

    name: str
    watts: float | None = None
    note: str | None = None
    provenance: Provenance


class Software(_Doc):
    """Versions on the device that matter to what is built for it."""

    jetpack: str | None = None
    l4t: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    driver_min: str | None = None
    provenance: Provenance


class Target(_Doc):
    """A device profile."""

    schema_: Literal["edgec/target/v1"] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$")]
    title: str
    isa: Isa
    cpu: Cpu
    memory: Memory
    bandwidth: Bandwidth
    accelerator: Accelerator | None = None
    software: Software | None = None
    runtimes: dict[str, Runtime]
    storage: Storage
    browser: Browser | None = None
    power_modes: tuple[PowerMode, ...] = ()
