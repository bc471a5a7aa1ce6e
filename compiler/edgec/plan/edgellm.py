"""TensorRT Edge-LLM's part of a plan: its layout, and what the device is told to do with it."""

from __future__ import annotations

from edgec.bundle.finalize_builds import edgellm_build
from edgec.bundle.finalize_plan import Backend, FinalizePlan, Limits, ProofPlan, reference_path
from edgec.formats.edgellm.layout import EdgeLlmLayout, plan_edgellm
from edgec.formats.edgellm.versions import EdgeLlmVersion
from edgec.plan.engine_model import BackendPlan, EngineLimits
from edgec.plan.finalize import requirements
from edgec.plan.model import Fit
from edgec.source.model import CheckpointHeader
from edgec.target.model import Software, Target

_MODEL_FOLDER = "edgellm"
# The builder holds the network's weights and the engine's, and TensorRT's tactics need room: an estimate.
_BUILD_FACTOR = 2.5
_BUILD_MIB = 1500


def edgellm_backend(header: CheckpointHeader, scheme: str, version: EdgeLlmVersion) -> BackendPlan:
    """The export of `header` in `scheme`. Raises InputError for what Edge-LLM cannot take."""
    layout = plan_edgellm(header, scheme, version)
    return BackendPlan(
        layout=layout,
        version=version.number,
        files=tuple(file.name for file in layout.files),
        output_bytes=layout.size_bytes,
        is_exact=False,
        engine_bytes=layout.weight_bytes,
        bytes_by_type=_bytes_by_type(layout),
        memory_mib=layout.memory_mib,
        scratch_bytes=layout.scratch_bytes,
        toolchains=() if version.toolchain is None else (version.toolchain,),
        notes=layout.notes,
    )


def finalize_edgellm(
    name: str,
    layout: EdgeLlmLayout,
    limits: EngineLimits,
    *,
    target: Target,
    software: Software | None,
    fit: Fit,
) -> FinalizePlan:
    """What the device does with the export."""
    built_for = Limits(max_batch=limits.batch, max_input=limits.input_tokens, max_context=limits.context)
    # The embeddings stand in a file beside the engine.
    held_bytes = layout.weight_bytes - layout.shape.vocabulary * layout.shape.hidden * 2
    return FinalizePlan(
        artifact=name,
        backend=Backend(name="edgellm", version=layout.version.number),
        requires=requirements(
            target,
            software,
            fit,
            build_memory_mib=_BUILD_MIB + int(_BUILD_FACTOR * layout.weight_bytes) // 2**20,
            build_disk_bytes=2 * layout.size_bytes,
        ),
        model=_MODEL_FOLDER,
        model_at_run_time=False,
        build=edgellm_build(layout.version.number, built_for, held_bytes),
        limits=built_for,
        proof=ProofPlan(runner="edgellm", reference=reference_path(name)),
    )


def _bytes_by_type(layout: EdgeLlmLayout) -> dict[str, int]:
    """Codes apart; scales, norms and embeddings are float16."""
    codes = sum(linear.out_features * linear.in_features for linear in layout.shape.linears())
    if layout.scheme == "fp16":
        return {"f16": layout.weight_bytes}
    name, size = ("i8", codes) if layout.scheme == "int8_sq" else ("i4", codes // 2)
    return {name: size, "f16": layout.weight_bytes - size}
