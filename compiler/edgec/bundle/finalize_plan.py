"""`device/<artifact>.finalize.json`: how an artifact of a bundle becomes an engine on the device, as data.

Rule: it holds everything that the device compares, runs and checks. It is signed with the rest of the bundle, and no
shell ever reads it; what is unknown is left out, never filled in.
"""

from __future__ import annotations

import string
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgec.bundle.paths import path_fault
from edgec.bundle.strict_json import parse_object, refuse
from edgec.documents.canonical import canonical_json

FOLDER = "device"
_SUFFIX = ".finalize.json"
# What stands in braces in a command; everything else is taken as it is.
PLACEHOLDERS = frozenset({"model", "engine"})
# The programs that a plan may start: a signed bundle is not a way to run any other.
# `edgellm-onnx-build` is edgec's own (edgec/device/inside/build_edgellm.py): the wheel's builder for ONNX is a class.
BUILDERS = {
    "edgellm": ("edgellm-onnx-build", "llm_build", "tensorrt-edgellm-build"),
    "trtllm": ("trtllm-build",),
}

BackendName = Literal["edgellm", "trtllm"]
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*([.+-]?[0-9A-Za-z.+-]+)?$")]
Release = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]


def plan_path(artifact: str) -> str:
    """Where the plan of an artifact stands in a bundle."""
    return f"{FOLDER}/{artifact}{_SUFFIX}"


def reference_path(artifact: str) -> str:
    """Where the recorded reference of an artifact stands in a bundle."""
    return f"{FOLDER}/{artifact}.reference.json"


def is_plan_path(path: str) -> bool:
    """Whether a file of a bundle is a finalize plan."""
    return path.startswith(f"{FOLDER}/") and path.endswith(_SUFFIX)


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Backend(_Doc):
    """The vendor's program that builds and runs the engine. The device must have the same version, to the letter."""

    name: BackendName
    version: Version


class Requirements(_Doc):
    """What the device must be. A field that is null is not compared.

    `arch`, `sm`: equal. `l4t`, `jetpack`, `cuda`, `tensorrt`: the device's begins with it, part by part (`10.3` takes
    10.3.0.30 and not 10.30). `driver_min`: at least. Memory and disk: free when the build begins. `power_mode`: advice.
    """

    arch: Literal["aarch64", "x86_64"] | None = None
    sm: int | None = Field(None, ge=50, description="Compute capability without its dot: 87.")
    l4t: Release | None = None
    jetpack: Release | None = None
    cuda: Release | None = None
    tensorrt: Release | None = None
    driver_min: Release | None = None
    build_memory_mib: int | None = Field(None, ge=0)
    build_disk_mib: int | None = Field(None, ge=0)
    run_memory_mib: int | None = Field(None, ge=0)
    power_mode: str | None = None


class Output(_Doc):
    """A file that the build must leave in the engine's folder. `min_bytes`: less cannot hold what it must."""

    path: str
    min_bytes: int = Field(1, ge=1)


class ConfigFact(_Doc):
    """What a JSON file of the engine must say: `keys` lead to the value."""

    path: str
    keys: tuple[str, ...] = Field(min_length=1)
    equals: str | int | bool


class Build(_Doc):
    """The build. `command`: program and arguments, with {model} and {engine}; `failures`: in the log, they mean failure
    whatever the exit code; `phases`: in the log, in this order, they show how far it is."""

    command: tuple[str, ...] = Field(min_length=1)
    timeout_s: int = Field(4 * 3600, gt=0)
    outputs: tuple[Output, ...] = Field(min_length=1)
    facts: tuple[ConfigFact, ...] = ()
    failures: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()

    def arguments(self, *, model: str, engine: str) -> list[str]:
        """The command with its folders."""
        return [part.format(model=model, engine=engine) for part in self.command]

    @model_validator(mode="after")
    def _names_are_usable(self) -> Build:
        for part in self.command:
            _check_placeholders(part)
        if not any("{engine}" in part for part in self.command):
            raise ValueError("the command does not say where the engine goes: {engine} is missing")
        for path in (*(o.path for o in self.outputs), *(f.path for f in self.facts)):
            if fault := path_fault(path):
                raise ValueError(f"{path!r}: {fault}")
        if any(not text.strip() for text in (*self.failures, *self.phases)):
            raise ValueError("an empty text stands in every log")
        return self


class Limits(_Doc):
    """What the engine is built for."""

    max_batch: int = Field(gt=0)
    max_input: int = Field(gt=0)
    max_context: int = Field(gt=0)


class ProofPlan(_Doc):
    """How the engine is compared: which runner runs it, and the recorded reference, which has the thresholds.

    `logits`: the engine is built to give them, so that one which gives none has failed.
    """

    runner: BackendName
    reference: str
    logits: bool = False
    timeout_s: int = Field(1800, gt=0)


class FinalizePlan(_Doc):
    """The document `edgec/finalize/v1`. `model`: the folder of the bundle that the build reads."""

    schema_: Literal["edgec/finalize/v1"] = Field("edgec/finalize/v1", alias="schema")
    artifact: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    backend: Backend
    requires: Requirements
    model: str
    model_at_run_time: bool = Field(description="The engine reads its weights from the model's folder when it starts.")
    build: Build
    limits: Limits
    proof: ProofPlan

    def to_bytes(self) -> bytes:
        """The canonical JSON that a bundle carries."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @model_validator(mode="after")
    def _is_usable(self) -> FinalizePlan:
        if self.build.command[0] not in BUILDERS[self.backend.name]:
            raise ValueError(f"{self.build.command[0]!r} is no builder of {self.backend.name}")
        for path in (self.model, self.proof.reference):
            if fault := path_fault(path):
                raise ValueError(f"{path!r}: {fault}")
        return self


def parse_plan(data: bytes, place: str) -> FinalizePlan:
    """The plan in `data`. Raises ProofError naming `place` and the first field that is wrong."""
    document = parse_object(data, place)
    try:
        return FinalizePlan.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        hint = "the bundle is damaged, or was made by a newer edgec: update edgec on this device"
        raise refuse(f"{where}: {first['msg']}", place=place, hint=hint) from None


def _check_placeholders(part: str) -> None:
    try:
        names = [(name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(part)]
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}") from None
    for name, spec, conversion in names:
        if name is not None and (name not in PLACEHOLDERS or spec or conversion):
            raise ValueError(f"{part!r}: only {{model}} and {{engine}} may stand in braces")
