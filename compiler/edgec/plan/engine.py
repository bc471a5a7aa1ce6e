"""What an artifact will be from which a device builds an engine: its files, its limits, its fit and its speed.

Rule: from headers alone. Weights that are not in the scheme yet are planned as a step of their own, whose result every
backend reads; what a backend refuses stands at the recipe's artifact.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.documents.canonical import sha256_bytes
from edgec.formats.edgellm.layout import EdgeLlmLayout
from edgec.formats.edgellm.versions import version_for
from edgec.formats.gguf.vocabulary.files import read_files
from edgec.formats.gguf.vocabulary.template import chat_template
from edgec.formats.trtllm.layout import TrtLlmLayout
from edgec.plan.artifact import artifact_name
from edgec.plan.edgellm import edgellm_backend, finalize_edgellm
from edgec.plan.engine_limits import wished_limits
from edgec.plan.engine_model import BackendPlan, EngineArtifact, EngineLimits, EnginePlan, PlannedQuantization
from edgec.plan.finalize import build_note
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan, Fit, Speed
from edgec.plan.model_shape import decoder_shape, longest_context
from edgec.plan.placed import placed_at
from edgec.plan.quantized import plan_quantization
from edgec.plan.speed import kv_read_per_token, predict_speed, weights_read_per_token
from edgec.plan.template_check import require_working_template
from edgec.plan.trtllm import finalize_trtllm, limits_of_engine, trtllm_backend, trtllm_version
from edgec.quantize.architecture import Decoder, plan_decoder
from edgec.recipe.engine import EdgeLlmArtifact, TrtLlmArtifact
from edgec.recipe.load import LoadedRecipe
from edgec.source.model import CheckpointHeader
from edgec.source.text import read_text
from edgec.target.model import Runtime, Target

_HALF_BYTES = 2
# Stands in every plan of an engine.
_NOT_BUILT = "engine build not verified on hardware: no bundle holds it, `edgec device finalize` builds and proves it"


def plan_engine(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: EngineArtifact, index: int
) -> EnginePlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what the backend or the target cannot take."""
    name, runtime = _runtime(target, artifact)
    with placed_at(loaded, index):
        decoder = plan_decoder(header)
        quantized = plan_quantization(loaded, artifact, index, header)
        backend = _backend(loaded, target, artifact, index=index, header=header, quantized=quantized)
        limits = wished_limits(loaded, artifact, index, longest_context(header.config, decoder))
        fit = _fit(target, _with_kv(runtime, artifact), decoder, backend, limits)
        limits, finalize = _finalize(artifact, target, name, backend=backend, limits=limits, fit=fit)
        summary = _summary(target, name, artifact, decoder, backend=backend, limits=limits, fit=fit)
        summary = replace(summary, notes=(_NOT_BUILT, build_note(finalize, fit), *summary.notes))
        template = _template(header)
    return EnginePlan(
        name=artifact_name(artifact),
        summary=summary,
        numbers=_numbers(loaded, artifact),
        settings=artifact,
        decoder=decoder,
        backend=backend,
        quantized=quantized,
        measures_kv=isinstance(artifact, TrtLlmArtifact) and artifact.quantize.kv_cache == "int8",
        limits=limits,
        finalize=finalize,
        template=template,
        architecture=str(header.config["architectures"][0]),
        parameters=decoder.parameters,
    )


def _runtime(target: Target, artifact: EngineArtifact) -> tuple[str, Runtime]:
    """The target's runtime for this format; a checked recipe has one."""
    return next((n, r) for n, r in target.runtimes.items() if artifact.format in r.formats)


def _with_kv(runtime: Runtime, artifact: EngineArtifact) -> Runtime:
    is_int8 = isinstance(artifact, TrtLlmArtifact) and artifact.quantize.kv_cache == "int8"
    return runtime.model_copy(update={"kv_bytes": 1}) if is_int8 else runtime


def _backend(
    loaded: LoadedRecipe,
    target: Target,
    artifact: EngineArtifact,
    *,
    index: int,
    header: CheckpointHeader,
    quantized: PlannedQuantization | None,
) -> BackendPlan:
    software = target.software_for(_runtime(target, artifact)[0])
    made_of = header if quantized is None else quantized.header
    match artifact:
        case EdgeLlmArtifact():
            version = version_for(None if software is None else software.jetpack)
            return edgellm_backend(made_of, artifact.quantize.scheme, version)
        case TrtLlmArtifact():
            span = loaded.span("artifacts", index, "version") or loaded.span("artifacts", index, "format")
            number = trtllm_version(artifact, software, span)
            return trtllm_backend(made_of, artifact, number)


def _finalize(
    artifact: EngineArtifact, target: Target, runtime: str, *, backend: BackendPlan, limits: EngineLimits, fit: Fit
) -> tuple[EngineLimits, FinalizePlan]:
    """What the device is told, and the limits with what only the backend knows."""
    software, name = target.software_for(runtime), artifact_name(artifact)
    match backend.layout:
        case EdgeLlmLayout():
            return limits, finalize_edgellm(name, backend.layout, limits, target=target, software=software, fit=fit)
        case TrtLlmLayout():
            engine = limits_of_engine(backend.layout, limits, target.runtimes[runtime], fit)
            plan = finalize_trtllm(
                name, backend.layout, backend.version, engine, target=target, software=software, fit=fit
            )
            return replace(limits, kv_cache_tokens=engine.kv_cache_tokens), plan


def _fit(target: Target, runtime: Runtime, decoder: Decoder, backend: BackendPlan, limits: EngineLimits) -> Fit:
    return predict_fit(
        target,
        runtime,
        shape=decoder_shape(decoder),
        weights_bytes=backend.engine_bytes,
        bytes_by_type=backend.bytes_by_type,
        largest_tensor_bytes=decoder.vocabulary * decoder.width * _HALF_BYTES,
        context=limits.context,
        batch=limits.batch,
        largest_file_bytes=backend.output_bytes,
    )


def _summary(
    target: Target,
    runtime_name: str,
    artifact: EngineArtifact,
    decoder: Decoder,
    *,
    backend: BackendPlan,
    limits: EngineLimits,
    fit: Fit,
) -> ArtifactPlan:
    return ArtifactPlan(
        name=artifact_name(artifact),
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=limits.context,
        output_bytes=backend.output_bytes,
        files=backend.files,
        bytes_by_type=dict(backend.bytes_by_type),
        fit=fit,
        speeds=(_speed(target, runtime_name, artifact, decoder, backend=backend, limits=limits),),
        notes=backend.notes,
        is_exact=backend.is_exact and artifact.quantize.tool == "edgec",
    )


def _speed(
    target: Target,
    runtime_name: str,
    artifact: EngineArtifact,
    decoder: Decoder,
    *,
    backend: BackendPlan,
    limits: EngineLimits,
) -> Speed:
    runtime = _with_kv(target.runtimes[runtime_name], artifact)
    embedding = decoder.vocabulary * decoder.width * _HALF_BYTES
    # The embedding's file is counted with the engine's weights, tied or not: the output layer has a copy of its own.
    read = weights_read_per_token(weights_bytes=backend.engine_bytes, token_embedding_bytes=embedding, tied=False)
    shape = decoder_shape(decoder)
    return predict_speed(
        target,
        runtime_name,
        bytes_per_token=read,
        kv_bytes_per_token_at_context=kv_read_per_token(shape, context=limits.context, kv_bytes=runtime.kv_bytes),
        scheme=artifact.quantize.scheme,
    )


def _template(header: CheckpointHeader) -> str | None:
    """The chat template that the runtime finds beside the model; it must work. Raises InputError."""
    template, place, _ = chat_template(read_files(header.files, dict(header.config)), None)
    if template is not None:
        require_working_template(template, header.files, place)
    return template


def _numbers(loaded: LoadedRecipe, artifact: EngineArtifact) -> dict[str, Any]:
    data = artifact.model_dump(mode="json", exclude={"engine"})
    calibration = artifact.quantize.calibration
    if calibration is not None:
        text = read_text(loaded.resolve(calibration), "calibration text")
        data["quantize"]["calibration"] = sha256_bytes(text.encode())
    return data
