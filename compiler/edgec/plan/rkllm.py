"""What an RKLLM artifact will be, from the checkpoint's header: its decoder, context, bounds of its size, speed.

Rule: the toolkit is the user's own wheel, and is looked at here, so that nothing begins that cannot be built.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from edgec.documents.canonical import sha256_bytes
from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.vocabulary.files import read_files
from edgec.formats.gguf.vocabulary.template import chat_template
from edgec.formats.rkllm.layout import CONTEXT_STEP, MAX_CONTEXT, RkllmLayout, plan_layout
from edgec.formats.rkllm.run import TOOLCHAIN
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.encoder import calibration_lines
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan, Speed
from edgec.plan.model_shape import decoder_shape, longest_context
from edgec.plan.npu_beside import cpu_beside
from edgec.plan.placed import placed_at
from edgec.plan.speed import kv_read_per_token, predict_speed, weights_read_per_token
from edgec.plan.template_check import require_working_template
from edgec.quantize.architecture import Decoder, plan_decoder
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.rkllm import RkllmArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target
from edgec.toolchain.definition import find_toolchain
from edgec.toolchain.user_wheel import UserWheel, find_user_wheel

_HALF_BYTES = 2
_DEFAULT_CONTEXT = 4096
_ONE_CORE = 1
NOTES = (
    "written from Rockchip's published interface of RKLLM 1.3.0 and never run with it: nobody who made edgec has the "
    "toolkit, which is closed",
    "proven by the toolkit's own simulation on this machine (get_logits), not on the NPU; not verified on hardware",
    "the size is a bound: the model in 16 bits; a file smaller than its linears in 8 bits is refused too",
)


@dataclass(frozen=True)
class RkllmPlan(PlannedArtifact):
    """One .rkllm file to be. `parameters`: weights of the source; `template`: the source's chat template."""

    settings: RkllmArtifact
    decoder: Decoder
    layout: RkllmLayout
    calibration_lines: tuple[str, ...]
    wheel: UserWheel
    npu_cores: int
    template: str | None
    architecture: str

    @property
    def source_bytes(self) -> int:
        """Bytes of the weights in 16 bits."""
        return self.decoder.parameters * _HALF_BYTES

    @property
    def facts(self) -> ModelFacts:
        """What config.json says of the model."""
        return ModelFacts(
            title="",
            architecture=self.architecture,
            kind="decoder",
            trained_context=self.decoder.context,
            embedding_length=self.decoder.width,
            vocabulary=self.decoder.vocabulary,
            pooling=None,
            chat_template=self.template,
        )


def plan_rkllm(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: RkllmArtifact, index: int
) -> RkllmPlan:
    """Plans the recipe's artifact number `index`. Raises InputError: what RKLLM cannot take, or no toolkit."""
    with placed_at(loaded, index):
        decoder = plan_decoder(header)
        _refuse_quantized(header)
        layout = plan_layout(decoder, artifact.quantize.scheme, _context(loaded, header, decoder))
        template = _template(header)
        # The last thing: who only wants to see whether the model fits learns of its mistakes first.
        wheel = find_user_wheel(find_toolchain(TOOLCHAIN), os.environ)
    lines = calibration_lines(loaded, artifact, index)
    cores = _ONE_CORE if target.accelerator is None else target.accelerator.npu_cores or _ONE_CORE
    return RkllmPlan(
        name=artifact_name(artifact),
        summary=_summary(loaded, target, header, artifact, decoder=decoder, layout=layout),
        numbers=_numbers(artifact, lines, layout),
        settings=artifact,
        decoder=decoder,
        layout=layout,
        calibration_lines=lines,
        wheel=wheel,
        npu_cores=cores,
        template=template,
        architecture=str(header.config["architectures"][0]),
    )


def _refuse_quantized(header: CheckpointHeader) -> None:
    if header.quantization is not None:
        raise InputError.of(
            "the checkpoint is quantized already, and RKLLM quantizes by itself", hint="name the model in 16 bits"
        )


def _context(loaded: LoadedRecipe, header: CheckpointHeader, decoder: Decoder) -> int:
    """Tokens at most: what the recipe asks for, if model and NPU can. Raises InputError."""
    longest = min(longest_context(header.config, decoder), MAX_CONTEXT)
    most = longest - longest % CONTEXT_STEP
    asked = loaded.recipe.context
    if asked is None:
        return min(_DEFAULT_CONTEXT, most)
    span = loaded.span("context")
    if asked > most:
        message = f"a context of {asked} tokens is more than the {most} that this model has on the NPU"
        raise InputError(Diagnostic(message, f"set context to {most} or less", span))
    if asked % CONTEXT_STEP:
        below, above = asked - asked % CONTEXT_STEP, min(most, asked - asked % CONTEXT_STEP + CONTEXT_STEP)
        near = str(above) if below == 0 else f"{below} or {above}"
        message = f"a context of {asked} tokens is no multiple of {CONTEXT_STEP}, which RKLLM demands"
        raise InputError(Diagnostic(message, f"set context to {near}", span))
    return asked


def _template(header: CheckpointHeader) -> str | None:
    """The chat template, which the calibration's prompts are made with. Raises InputError when it does not work."""
    template, place, _ = chat_template(read_files(header.files, dict(header.config)), None)
    if template is not None:
        require_working_template(template, header.files, place)
    return template


def _summary(
    loaded: LoadedRecipe,
    target: Target,
    header: CheckpointHeader,
    artifact: RkllmArtifact,
    *,
    decoder: Decoder,
    layout: RkllmLayout,
) -> ArtifactPlan:
    name, runtime = next((n, r) for n, r in target.runtimes.items() if artifact.format in r.formats)
    speed = _speed(target, name, artifact.quantize.scheme, decoder, layout)
    return ArtifactPlan(
        name=artifact_name(artifact),
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=layout.context,
        output_bytes=layout.size_bytes,
        files=(layout.file,),
        bytes_by_type={"i8": layout.held_bytes},
        fit=predict_fit(
            target,
            runtime,
            shape=decoder_shape(decoder),
            weights_bytes=layout.held_bytes,
            bytes_by_type={"i8": layout.held_bytes},
            largest_tensor_bytes=decoder.vocabulary * decoder.width * _HALF_BYTES,
            context=layout.context,
            batch=loaded.recipe.batch,
            can_shard=False,
        ),
        speeds=(speed,),
        notes=(*NOTES, *cpu_beside(target, header, layout.context, speed, scheme=layout.scheme)),
        is_exact=False,
    )


def _speed(target: Target, name: str, scheme: str, decoder: Decoder, layout: RkllmLayout) -> Speed:
    table = decoder.vocabulary * decoder.width
    read = weights_read_per_token(weights_bytes=layout.held_bytes, token_embedding_bytes=table, tied=decoder.tied)
    kv_bytes = target.runtimes[name].kv_bytes
    kv = kv_read_per_token(decoder_shape(decoder), context=layout.context, kv_bytes=kv_bytes)
    return predict_speed(target, name, bytes_per_token=read, kv_bytes_per_token_at_context=kv, scheme=scheme)


def _numbers(artifact: RkllmArtifact, lines: tuple[str, ...], layout: RkllmLayout) -> dict[str, Any]:
    data = artifact.model_dump(mode="json")
    data["quantize"]["calibration"] = sha256_bytes("\n".join(lines).encode())
    return {**data, "context": layout.context}
