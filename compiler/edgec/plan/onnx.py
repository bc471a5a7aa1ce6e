"""What an ONNX artifact will be, from the checkpoint's header: its encoder, a bound of its size, its fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgec.documents.canonical import sha256_bytes
from edgec.errors import Diagnostic, InputError
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer, read_encoder
from edgec.formats.onnx.layout import OnnxLayout, plan_layout
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan, Fit
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader
from edgec.source.text import read_text
from edgec.target.model import Runtime, Target

# Calibration lines: shorter ones say little, and fewer cannot both calibrate and judge.
_MIN_CHARACTERS = 20
_MIN_LINES = 8
_FLOAT_BYTES = 4
_FOREIGN = ("max_kl", "min_top1", "max_perplexity_ratio", "max_score_error")


@dataclass(frozen=True)
class _Shape:
    """An encoder as `predict_fit` sees it."""

    n_layer: int
    n_head_kv: int
    head_dim_k: int
    head_dim_v: int
    n_embd: int
    n_ff: int
    n_vocab: int
    sliding_window: int | None = None
    n_full_attention_layers: int | None = None


@dataclass(frozen=True)
class OnnxPlan(PlannedArtifact):
    """One ONNX file to be. `calibration_lines`: what routes are calibrated and judged on; empty where none is."""

    settings: OnnxArtifact
    encoder: Encoder
    layout: OnnxLayout
    calibration_lines: tuple[str, ...]

    @property
    def source_bytes(self) -> int:
        """Bytes of the weights in float32, as the source's graph has them."""
        return self.layout.float_bytes

    @property
    def facts(self) -> ModelFacts:
        """What config.json says of the model."""
        return ModelFacts(
            title="",
            architecture=self.encoder.architecture,
            kind="encoder",
            trained_context=self.encoder.positions,
            embedding_length=self.encoder.width,
            vocabulary=self.encoder.vocabulary,
            pooling=self.encoder.pooling,
            chat_template=None,
        )


def plan_onnx(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: OnnxArtifact, index: int
) -> OnnxPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be exported or proven."""
    scheme = artifact.quantize.scheme
    refuse_thresholds(loaded)
    with placed_at(loaded, index):
        encoder = with_context(loaded, read_encoder(header))
        encoder_tokenizer(header.files)
        layout = plan_layout(encoder, scheme)
    lines = calibration_lines(loaded, artifact, index)
    runtime = next(r for r in target.runtimes.values() if artifact.format in r.formats and scheme in r.schemes)
    return OnnxPlan(
        name=artifact_name(artifact),
        summary=ArtifactPlan(
            name=artifact_name(artifact),
            format=artifact.format,
            scheme=scheme,
            context=encoder.context,
            output_bytes=layout.size_bytes,
            files=(layout.file,),
            bytes_by_type=layout.bytes_by_type,
            fit=encoder_fit(
                target,
                runtime,
                encoder,
                weights_bytes=layout.size_bytes,
                bytes_by_type=layout.bytes_by_type,
                batch=loaded.recipe.batch,
            ),
            # Encoders do not decode; their speed is not predicted.
            speeds=(),
            notes=_notes(encoder, layout),
            is_exact=False,
        ),
        numbers=_numbers(artifact, lines),
        settings=artifact,
        encoder=encoder,
        layout=layout,
        calibration_lines=lines,
    )


def calibration_lines(loaded: LoadedRecipe, artifact: OnnxArtifact | RknnArtifact, index: int) -> tuple[str, ...]:
    """The lines that are run, evenly over the text. Raises InputError, at the recipe's line, when they are too few."""
    calibration = artifact.quantize.calibration
    if calibration is None:
        return ()
    lines = usable_lines(read_text(loaded.resolve(calibration), "calibration text"))
    if len(lines) < _MIN_LINES:
        raise InputError(
            Diagnostic(
                f"the calibration text has {len(lines)} different lines of at least {_MIN_CHARACTERS} characters; "
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


def refuse_thresholds(loaded: LoadedRecipe) -> None:
    """Raises InputError, at their lines, for thresholds of other models."""
    mistakes = [
        Diagnostic(
            f"`prove.{name}` means nothing for this model: it is an encoder",
            "remove it; the proof of an encoder takes `min_cosine`",
            loaded.span("prove", name),
        )
        for name in _FOREIGN
        if getattr(loaded.recipe.prove, name) is not None
    ]
    if mistakes:
        raise InputError(*mistakes)


@contextlib.contextmanager
def placed_at(loaded: LoadedRecipe, index: int) -> Iterator[None]:
    """Gives mistakes without a place the line of the artifact that asked for what cannot be."""
    try:
        yield
    except InputError as error:
        span = loaded.span("artifacts", index)
        raise InputError(
            *(d if d.span is not None or d.place is not None else replace(d, span=span) for d in error.diagnostics)
        ) from error


def with_context(loaded: LoadedRecipe, encoder: Encoder) -> Encoder:
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


def encoder_fit(
    target: Target, runtime: Runtime, encoder: Encoder, *, weights_bytes: int, bytes_by_type: dict[str, int], batch: int
) -> Fit:
    """The memory that an encoder takes on the target, its weights as the runtime holds them."""
    head = encoder.width // encoder.heads
    shape = _Shape(encoder.layers, encoder.heads, head, head, encoder.width, encoder.inner, encoder.vocabulary)
    return predict_fit(
        target,
        runtime,
        shape=shape,
        weights_bytes=weights_bytes,
        bytes_by_type=bytes_by_type,
        largest_tensor_bytes=encoder.vocabulary * encoder.width * _FLOAT_BYTES,
        context=encoder.context,
        batch=batch,
        kv_cache=False,
        can_shard=False,
    )


def _notes(encoder: Encoder, layout: OnnxLayout) -> tuple[str, ...]:
    notes = [f"one vector of a text: the {encoder.pooling} over its tokens' outputs, which the graph gives"]
    if encoder.pooling == "cls":
        notes = ["one vector of a text: the output of its first token, which the graph gives with all others"]
    if len(layout.routes) > 1:
        notes.append(f"{len(layout.routes)} routes are tried; the size is that of the largest")
    if encoder.pooling_note is not None:
        notes.append(encoder.pooling_note)
    return tuple(notes)


def _numbers(artifact: OnnxArtifact, lines: tuple[str, ...]) -> dict[str, Any]:
    data = artifact.model_dump(mode="json")
    if lines:
        data["quantize"]["calibration"] = sha256_bytes("\n".join(lines).encode())
    return data
