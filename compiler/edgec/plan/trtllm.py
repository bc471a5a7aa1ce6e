"""TensorRT-LLM's part of a plan: its checkpoint's layout, and the command that builds its engine on the device."""

from __future__ import annotations

from edgec.bundle.finalize_builds import trtllm_build
from edgec.bundle.finalize_plan import Backend, FinalizePlan, Limits, ProofPlan, reference_path
from edgec.errors import Diagnostic, InputError, Span
from edgec.formats.trtllm.build_command import CHECKPOINT_PLACE, build_command
from edgec.formats.trtllm.engine_limits import EngineLimits as BuildLimits
from edgec.formats.trtllm.engine_limits import EngineWish
from edgec.formats.trtllm.engine_limits import engine_limits as limits_in_memory
from edgec.formats.trtllm.layout import CONFIG_FILE, WEIGHTS_FILE, TrtLlmLayout, plan_trtllm
from edgec.formats.trtllm.versions import JETSON_VERSION
from edgec.plan.engine_model import BackendPlan, EngineLimits
from edgec.plan.finalize import requirements
from edgec.plan.model import Fit
from edgec.recipe.engine import TrtLlmArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Runtime, Software, Target

# The one JetPack that TensorRT-LLM ever had a branch for, and that branch.
_JETSON_JETPACK = "6.1"
_JETSON = f"{JETSON_VERSION}-jetson"
# What streaming a checkpoint takes: a constant (benchmarks/trtllm).
_WRITER_MIB = 400
# The builder holds the checkpoint's weights and the engine's at once: an estimate.
_BUILD_MIB = 1500
_UNBOUNDED_MIB = 1e9


def trtllm_version(artifact: TrtLlmArtifact, software: Software | None, span: Span | None) -> str:
    """The TensorRT-LLM that builds the engine. Raises InputError for one that the target's JetPack cannot have."""
    jetpack = None if software is None else software.jetpack
    if jetpack is None:
        if artifact.version is None:
            raise InputError(
                Diagnostic(
                    "the target says no JetPack, so the version of TensorRT-LLM cannot be known",
                    "add `version: 1.2.1`, or the one that is installed where the engine is built",
                    span,
                )
            )
        return artifact.version
    asked = artifact.version or _JETSON
    if not (jetpack == _JETSON_JETPACK or jetpack.startswith(f"{_JETSON_JETPACK}.")) or asked != _JETSON:
        raise InputError(
            Diagnostic(
                f"TensorRT-LLM {asked} does not run on JetPack {jetpack}",
                f"on a Jetson only {_JETSON} ever ran, with JetPack {_JETSON_JETPACK}; for a newer JetPack use "
                "`format: edgellm`",
                span,
            )
        )
    return asked


def trtllm_backend(header: CheckpointHeader, artifact: TrtLlmArtifact, version: str) -> BackendPlan:
    """The checkpoint of `header`. Raises InputError for what TensorRT-LLM cannot take."""
    quantize = artifact.quantize
    layout = plan_trtllm(header, scheme=quantize.scheme, version=version, kv_cache=quantize.kv_cache)
    return BackendPlan(
        layout=layout,
        version=version,
        files=(CONFIG_FILE, WEIGHTS_FILE),
        output_bytes=layout.size_bytes,
        is_exact=True,
        engine_bytes=layout.engine_bytes,
        bytes_by_type=layout.bytes_by_type,
        memory_mib=_WRITER_MIB,
        scratch_bytes=0,
        toolchains=(),
        notes=layout.notes,
    )


def limits_of_engine(layout: TrtLlmLayout, limits: EngineLimits, runtime: Runtime, fit: Fit) -> BuildLimits:
    """The numbers of the build in the memory that is there. Raises InputError, with the one to change, for less."""
    # A model that does not fit is planned all the same, so that the plan can say by how much.
    budget_mib = _UNBOUNDED_MIB if fit.verdict == "no" else fit.available_mib - runtime.constant_mib
    wish = EngineWish(limits.batch, limits.input_tokens, limits.output_tokens, limits.context)
    return limits_in_memory(layout, budget_mib, wish)


def finalize_trtllm(
    name: str,
    layout: TrtLlmLayout,
    version: str,
    engine: BuildLimits,
    *,
    target: Target,
    software: Software | None,
    fit: Fit,
) -> FinalizePlan:
    """What the device does with the checkpoint."""
    command = tuple(part.replace(CHECKPOINT_PLACE, "{model}") for part in build_command(layout, engine))
    # What the package says of itself: the branch for Jetson has the number it came from.
    number = version.removesuffix("-jetson")
    return FinalizePlan(
        artifact=name,
        backend=Backend(name="trtllm", version=number),
        requires=requirements(
            target,
            software,
            fit,
            build_memory_mib=_BUILD_MIB + (layout.size_bytes + layout.engine_bytes >> 20),
            build_disk_bytes=layout.engine_bytes,
        ),
        model="trtllm",
        model_at_run_time=False,
        build=trtllm_build(number, command, layout.engine_bytes, batch=engine.max_batch_size),
        limits=Limits(max_batch=engine.max_batch_size, max_input=engine.max_input_len, max_context=engine.max_seq_len),
        proof=ProofPlan(
            runner="trtllm", reference=reference_path(name), logits="--gather_generation_logits" in command
        ),
    )
