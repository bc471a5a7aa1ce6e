"""The target profile: what is known about a device, with the provenance of every number.

Rule: a number without a provenance is not accepted; what was not measured says so in its provenance.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgec.documents.typed import mistake

Reason = Annotated[str, Field(min_length=10, description="Why it is refused, and what to use instead.")]


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(_Doc):
    """Where a number comes from."""

    kind: Literal["measured", "source", "datasheet", "estimate"] = Field(
        description="`measured`: a published measurement on the device; `source`: read in a program's or a project's "
        "source; `datasheet`: the vendor's figure; `estimate`: not measured, `note` says how it was reached."
    )
    source: str = Field(min_length=1, description="A document, a benchmark or a command a person can look up.")
    note: str | None = None

    @model_validator(mode="after")
    def _estimates_say_why(self) -> Provenance:
        if self.kind == "estimate" and not self.note:
            raise ValueError("an estimate needs a `note` that says how the number was reached")
        return self


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

    total_mib: int = Field(gt=0)
    os_reserve_mib: int = Field(ge=0, description="Operating system and other services; not available to the model.")
    max_allocation_mib: int | None = Field(
        None, gt=0, description="Largest single allocation, where the platform limits it."
    )
    provenance: Provenance
    os_reserve_provenance: Provenance

    @property
    def available_mib(self) -> int:
        """What is left for the model and its runtime."""
        return self.total_mib - self.os_reserve_mib

    @model_validator(mode="after")
    def _leaves_something(self) -> Memory:
        if self.os_reserve_mib >= self.total_mib:
            raise mistake(
                f"`os_reserve_mib` is {self.os_reserve_mib}, which leaves nothing of `total_mib`, {self.total_mib}",
                "make it smaller than `total_mib`",
                at="os_reserve_mib",
            )
        return self


class Bandwidth(_Doc):
    """Memory bandwidth. `theoretical_gbs` in 1e9 bytes per second."""

    theoretical_gbs: float = Field(gt=0)
    requires: str | None = Field(None, description="The clock or power state in which it holds.")
    provenance: Provenance


class Accelerator(_Doc):
    """A GPU or an NPU."""

    kind: Literal["cuda", "rknpu", "webgpu"]
    sm: int | None = None
    npu_cores: int | None = None
    allowed_dtypes: tuple[str, ...]
    refused_dtypes: dict[str, Reason] = Field(
        default_factory=dict, description="dtype -> why, and what to use instead."
    )
    max_context: int | None = None
    provenance: Provenance


class Software(_Doc):
    """Versions on the device that matter to what is built for it. A device's version agrees if it begins with it."""

    jetpack: str | None = None
    l4t: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    driver_min: str | None = None
    provenance: Provenance


class SpeedModel(_Doc):
    """Decode time per token = t0 + bytes read / effective bandwidth, both as ranges.

    `bw_eff_gbs` is [low, high] in 1e9 bytes per second, `t0_ms` [low, high] in milliseconds. `measured_gb` is the range
    of bytes per token (1e9) the calibration covers; a prediction outside it says that it extrapolates.
    """

    quant_family: Literal["any", "q4", "q8", "f16", "w8a8", "int4"] = "any"
    bw_eff_gbs: tuple[float, float]
    t0_ms: tuple[float, float] = (0.0, 0.0)
    measured_gb: tuple[float, float] | None = None
    requires: str | None = Field(None, description="The clock, power or build state without which it does not hold.")
    confidence: Literal["calibrated", "uncalibrated"]
    provenance: Provenance

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> SpeedModel:
        for name, pair in (("bw_eff_gbs", self.bw_eff_gbs), ("t0_ms", self.t0_ms), ("measured_gb", self.measured_gb)):
            if pair is not None and not 0 <= pair[0] <= pair[1]:
                raise ValueError(f"{name} must be [low, high] with 0 <= low <= high")
        if self.bw_eff_gbs[0] == 0:
            raise ValueError("bw_eff_gbs must be above 0")
        if (self.confidence == "calibrated") != (self.measured_gb is not None):
            raise ValueError("measured_gb is given exactly when confidence is `calibrated`")
        return self


class Runtime(_Doc):
    """One runtime on this device: the formats it serves, what it takes of the memory and how fast it decodes."""

    title: str = Field(description="Its name for people, for example `llama.cpp (CPU)`.")
    formats: tuple[Literal["gguf", "onnx", "edgellm", "trtllm", "rknn", "rkllm"], ...] = Field(min_length=1)
    kinds: tuple[Literal["encoder", "decoder"], ...] = Field(
        (), description="Kinds of model it serves, where another runtime serves the others in the same format."
    )
    schemes: tuple[str, ...] = Field(min_length=1, description="Quantization schemes it serves, as recipes spell them.")
    preferred_schemes: tuple[str, ...] = Field((), description="Those to try first on this device, best first.")
    refused_schemes: dict[str, Reason] = Field(
        default_factory=dict, description="scheme -> why, and what to use instead."
    )
    weights_in: Literal["mapped", "heap", "device"] = Field(
        description="`mapped`: pages of the file; `heap`: read into memory; `device`: copied to the accelerator."
    )
    repacked_types: tuple[str, ...] = Field(
        (), description="Tensor types copied into anonymous memory in another layout at load."
    )
    constant_mib: int = Field(0, ge=0, description="Memory the runtime itself takes, for example a CUDA context.")
    load_copies: float = Field(
        1.0, ge=1, description="How often the weights lie in memory at load, where none of it is given back afterwards."
    )
    kv_bytes: int = Field(2, gt=0, description="Bytes per element of the KV cache.")
    n_ubatch: int = Field(512, gt=0, description="Physical batch; sizes the compute buffer.")
    speed: tuple[SpeedModel, ...] = Field(min_length=1)
    software: Software | None = Field(
        None, description="What the device must run for this runtime, where that is not the profile's `software`."
    )
    provenance: Provenance = Field(description="Of formats, schemes, repacking, KV type and batch.")
    constant_provenance: Provenance

    @model_validator(mode="after")
    def _schemes_agree(self) -> Runtime:
        both = sorted(set(self.schemes) & set(self.refused_schemes))
        if both:
            raise ValueError(f"served and refused at once: {', '.join(both)}")
        unserved = sorted(set(self.preferred_schemes) - set(self.schemes))
        if unserved:
            raise ValueError(f"preferred but not in schemes: {', '.join(unserved)}")
        families = [model.quant_family for model in self.speed]
        if len(set(families)) != len(families):
            raise ValueError("more than one speed model for the same quant_family")
        return self


class Storage(_Doc):
    """Disk of the device. `ab_slots`: bundles kept at once (2 = the old one stays until the new one is proven)."""

    free_mib: int | None = Field(None, gt=0, description="Known only for a particular device: set it in your profile.")
    ab_slots: int = Field(2, ge=1)
    max_file_mib: int | None = Field(
        None, gt=0, description="Largest single file the platform can hold; shards are made below it."
    )
    shard_mib: int | None = Field(None, gt=0, description="Shard size to use where `max_file_mib` forces shards.")
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
    runtimes: dict[str, Runtime] = Field(min_length=1)
    storage: Storage
    browser: Browser | None = None
    power_modes: tuple[PowerMode, ...] = ()

    def software_for(self, runtime: str) -> Software | None:
        """What the device must run for this runtime."""
        return self.runtimes[runtime].software or self.software

    @model_validator(mode="after")
    def _speeds_stay_below_the_memory(self) -> Target:
        for name, runtime in self.runtimes.items():
            for model in runtime.speed:
                if model.bw_eff_gbs[1] > self.bandwidth.theoretical_gbs:
                    raise ValueError(f"runtimes.{name}: effective bandwidth above bandwidth.theoretical_gbs")
        return self
