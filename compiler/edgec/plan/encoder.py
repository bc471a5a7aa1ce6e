"""What every planned encoder has in common, whatever its format: the model, its calibration lines, its fit.

Rule: encoders do not decode; their speed is not predicted.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from edgec.documents.canonical import sha256_bytes
from edgec.documents.wording import listed
from edgec.errors import Diagnostic, InputError
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer, read_encoder
from edgec.formats.onnx.layout import OnnxLayout
from edgec.formats.wordpiece import require_one_vocabulary
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan
from edgec.plan.model_shape import TransformerShape
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.recipe.rkllm import RkllmArtifact
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader
from edgec.source.text import read_text
from edgec.target.model import Runtime, Target

# Calibration lines: shorter ones say little, and fewer cannot both calibrate and judge.
_MIN_CHARACTERS = 20
_MIN_LINES = 8
_FLOAT_BYTES = 4

EncoderArtifact = OnnxArtifact | RknnArtifact


@dataclass(frozen=True)
class EncoderPlan(PlannedArtifact):
    """An encoder to be. `calibration_lines`: what routes are calibrated and judged on; empty where none is."""

    encoder: Encoder
    calibration_lines: tuple[str, ...]

    @property
    @abstractmethod
    def graph(self) -> OnnxLayout:
        """The float32 graph that it is made of."""

    @property
    def source_bytes(self) -> int:
        """Bytes of the weights in float32, as the source's graph has them."""
        return self.graph.float_bytes

    @property
    def facts(self) -> ModelFacts:
        """What config.json says of the model."""
        return ModelFacts(
            title="",
            architecture=self.encoder.architecture,
            kind=self.encoder.kind,
            trained_context=self.encoder.positions,
            embedding_length=self.encoder.width,
            vocabulary=self.encoder.vocabulary,
            # llama.cpp's name, as manifests have it.
            pooling="rank" if self.encoder.kind == "reranker" else self.encoder.pooling,
            chat_template=None,
        )


def read_planned_encoder(loaded: LoadedRecipe, header: CheckpointHeader) -> Encoder:
    """The encoder, with the recipe's context. Raises InputError for what cannot be exported or proven."""
    encoder = _with_context(loaded, read_encoder(header))
    encoder_tokenizer(header.files)
    require_one_vocabulary(header.files)
    return encoder


def runtime_of(target: Target, artifact: EncoderArtifact) -> Runtime:
    """The target's runtime for the artifact. Raises InputError: it has none for such a model in this scheme."""
    scheme = artifact.quantize.scheme
    runtimes = runtimes_of(target, artifact)
    found = next((runtime for runtime in runtimes if scheme in runtime.schemes), None)
    if found is None:
        served = listed(list(dict.fromkeys(s for runtime in runtimes for s in runtime.schemes)))
        message = f"`{target.name}` runs no model of this kind as `{artifact.format}` in `{scheme}`"
        hint = f"choose one of {served}" if runtimes else "choose another format, or add a runtime to the profile"
        raise InputError.of(message, hint=hint)
    return found


def runtimes_of(target: Target, artifact: EncoderArtifact) -> tuple[Runtime, ...]:
    """The target's runtimes for models in the artifact's format that do not decode."""
    return tuple(r for r in target.runtimes.values() if artifact.format in r.formats and "decoder" not in r.kinds)


def summarize(
    loaded: LoadedRecipe,
    target: Target,
    artifact: EncoderArtifact,
    encoder: Encoder,
    *,
    files: tuple[str, ...],
    output_bytes: int,
    held_bytes: int,
    bytes_by_type: dict[str, int],
    notes: tuple[str, ...],
) -> ArtifactPlan:
    """The plan's lines of an artifact. `held_bytes`: of its weights as the runtime holds them."""
    head = encoder.width // encoder.heads
    shape = TransformerShape(
        encoder.layers, encoder.heads, head, head, encoder.width, encoder.inner, encoder.vocabulary
    )
    return ArtifactPlan(
        name=artifact_name(artifact),
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=encoder.context,
        output_bytes=output_bytes,
        files=files,
        bytes_by_type=bytes_by_type,
        fit=predict_fit(
            target,
            runtime_of(target, artifact),
            shape=shape,
            weights_bytes=held_bytes,
            bytes_by_type=bytes_by_type,
            largest_tensor_bytes=encoder.vocabulary * encoder.width * _FLOAT_BYTES,
            context=encoder.context,
            batch=loaded.recipe.batch,
            kv_cache=False,
            can_shard=False,
        ),
        speeds=(),
        notes=notes,
        is_exact=False,
    )


def numbers_of(artifact: EncoderArtifact, lines: tuple[str, ...]) -> dict[str, Any]:
    """All in the recipe that decides what the artifact computes, its text by its content."""
    data = artifact.model_dump(mode="json")
    if lines:
        data["quantize"]["calibration"] = sha256_bytes("\n".join(lines).encode())
    return data


def calibration_lines(loaded: LoadedRecipe, artifact: EncoderArtifact | RkllmArtifact, index: int) -> tuple[str, ...]:
    """The lines that are run, evenly over the text. Raises InputError, at the recipe's line, when they are too few."""
    calibration = artifact.quantize.calibration
    if calibration is None:
        return ()
    text = read_text(loaded.resolve(calibration), "calibration text")
    lines = usable_lines(text)
    if len(lines) < _MIN_LINES:
        longest = max(len(line.strip()) for line in text.splitlines())
        raise InputError(
            Diagnostic(
                f"the calibration text has {len(lines)} different lines of at least {_MIN_CHARACTERS} characters, of "
                f"{len(text.splitlines())} lines, of which the longest has {longest}; "
                f"half of them calibrate and half judge, and {_MIN_LINES} are needed",
                "give a text with passages like the model's use, one per line",
                loaded.span("artifacts", index, "quantize", "calibration"),
            )
        )
    return evenly(lines, artifact.quantize.max_lines)


def usable_lines(text: str) -> list[str]:
    """Different lines that are long enough; empty ones are no passages."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if len(line.strip()) >= _MIN_CHARACTERS))


def evenly(lines: list[str], most: int) -> tuple[str, ...]:
    """At most so many of the lines, from all parts of the text."""
    count = min(most, len(lines))
    return tuple(lines[i * (len(lines) - 1) // (count - 1)] for i in range(count))


def _with_context(loaded: LoadedRecipe, encoder: Encoder) -> Encoder:
    """The encoder with the recipe's context, if it names one. Raises InputError when it is more than the model's."""
    asked = loaded.recipe.context
    if asked is None:
        return encoder
    if asked > encoder.positions:
        raise InputError(
            Diagnostic(
                f"a context of {asked} tokens is more than the model's {encoder.positions}",
                f"set context to {encoder.positions} or less",
                loaded.span("context"),
            )
        )
    return replace(encoder, context=asked)
