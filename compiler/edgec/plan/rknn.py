"""What an RKNN artifact will be, from the checkpoint's header: its encoder, its fixed length, a bound of its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgec.documents.canonical import sha256_bytes
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer, read_encoder
from edgec.formats.onnx.layout import OnnxLayout
from edgec.formats.onnx.layout import plan_layout as plan_graph
from edgec.formats.rknn.layout import RknnLayout, plan_layout
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.model import ArtifactPlan
from edgec.plan.onnx import calibration_lines, encoder_fit, placed_at, refuse_thresholds, with_context
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Runtime, Target


@dataclass(frozen=True)
class RknnPlan(PlannedArtifact):
    """One RKNN model to be. `graph`: the float32 graph it is compiled from; `calibration_lines`: empty for `fp16`."""

    settings: RknnArtifact
    encoder: Encoder
    graph: OnnxLayout
    layout: RknnLayout
    calibration_lines: tuple[str, ...]

    @property
    def exported(self) -> tuple[Encoder, OnnxLayout]:
        """What the export makes."""
        return self.encoder, self.graph

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
            kind="encoder",
            trained_context=self.encoder.positions,
            embedding_length=self.encoder.width,
            vocabulary=self.encoder.vocabulary,
            pooling=self.encoder.pooling,
            chat_template=None,
        )


def plan_rknn(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: RknnArtifact, index: int
) -> RknnPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be compiled or proven."""
    scheme = artifact.quantize.scheme
    refuse_thresholds(loaded)
    with placed_at(loaded, index):
        encoder = with_context(loaded, read_encoder(header))
        encoder_tokenizer(header.files)
    layout = _layout(encoder, scheme)
    lines = calibration_lines(loaded, artifact, index)
    runtime = next(r for r in target.runtimes.values() if artifact.format in r.formats and scheme in r.schemes)
    batch = loaded.recipe.batch
    return RknnPlan(
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
                weights_bytes=layout.device_bytes,
                bytes_by_type=layout.bytes_by_type,
                batch=batch,
            ),
            # Encoders do not decode; their speed is not predicted.
            speeds=(),
            notes=_notes(encoder, layout, target, runtime),
            is_exact=False,
        ),
        numbers=_numbers(artifact, lines, encoder),
        settings=artifact,
        encoder=encoder,
        graph=plan_graph(encoder, "fp32"),
        layout=layout,
        calibration_lines=lines,
    )


def _layout(encoder: Encoder, scheme: str) -> RknnLayout:
    width, inner, layers = encoder.width, encoder.inner, encoder.layers
    embeddings = (encoder.vocabulary + encoder.positions + encoder.types) * width
    others = layers * (4 * width * width + 2 * width * inner + 9 * width + inner) + 2 * width
    return plan_layout(embeddings=embeddings, others=others, layers=layers, scheme=scheme)


def _notes(encoder: Encoder, layout: RknnLayout, target: Target, runtime: Runtime) -> tuple[str, ...]:
    notes = [
        f"every text is padded to {encoder.context} tokens (the recipe's context), which the NPU computes whole",
        "not reproducible: rknn-toolkit2 writes other bytes each time; the proof is of the simulator, not the NPU",
    ]
    if len(layout.routes) > 1:
        notes.append(f"{len(layout.routes)} routes are tried, the smallest first; the size is that of the largest")
    beside = _cpu_beside(encoder, layout, target, runtime)
    if beside is not None:
        notes.append(beside)
    if encoder.pooling_note is not None:
        notes.append(encoder.pooling_note)
    return tuple(notes)


def _cpu_beside(encoder: Encoder, layout: RknnLayout, target: Target, runtime: Runtime) -> str | None:
    """The NPU beside the CPU, as far as the profile has numbers; encoders have none for their speed."""
    cpu = next((r for r in target.runtimes.values() if "gguf" in r.formats), None)
    if cpu is None or "q8_0" not in cpu.schemes:
        return None
    weights = sum(layout.bytes_by_type.values())
    # q8_0: 34 bytes for 32 weights, and on the CPU only the texts' own tokens are computed.
    each = 34 / 32
    tables = (encoder.vocabulary + encoder.positions + encoder.types) * encoder.width
    linears = encoder.layers * (4 * encoder.width**2 + 2 * encoder.width * encoder.inner)
    return (
        f"{runtime.title} holds {weights / 2**20:.0f} MiB of weights and computes {encoder.context} tokens for every "
        f"text; {cpu.title} with `format: gguf`, q8_0, holds {each * (tables + linears) / 2**20:.0f} MiB and computes "
        "a text's own tokens; which is faster was not measured, the NPU leaves the CPU free"
    )


def _numbers(artifact: RknnArtifact, lines: tuple[str, ...], encoder: Encoder) -> dict[str, Any]:
    data = {**artifact.model_dump(mode="json"), "length": encoder.context}
    if lines:
        data["quantize"]["calibration"] = sha256_bytes("\n".join(lines).encode())
    return data
