"""What an RKNN artifact will be, from the checkpoint's header: its encoder, its fixed length, a bound of its size."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import InputError
from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.layout import OnnxLayout, count_weights
from edgec.formats.onnx.layout import plan_layout as plan_graph
from edgec.formats.rknn.layout import RknnLayout, plan_layout
from edgec.plan.artifact import artifact_name
from edgec.plan.encoder import (
    EncoderPlan,
    calibration_lines,
    numbers_of,
    read_planned_encoder,
    runtime_of,
    summarize,
)
from edgec.plan.own_thresholds import refuse_foreign_thresholds
from edgec.plan.placed import placed_at
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Runtime, Target

# Classes whose graphs were compiled and simulated.
_TRIED = ("BertModel", "BertForMaskedLM", "BertForPreTraining")


@dataclass(frozen=True)
class RknnPlan(EncoderPlan):
    """One RKNN model to be; `calibration_lines` are empty for `fp16`."""

    settings: RknnArtifact
    layout: RknnLayout

    @property
    def graph(self) -> OnnxLayout:
        """The float32 graph that it is compiled from."""
        return plan_graph(self.encoder, "fp32")


def plan_rknn(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: RknnArtifact, index: int
) -> RknnPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be compiled or proven."""
    with placed_at(loaded, index):
        encoder = read_planned_encoder(loaded, header)
        if encoder.architecture not in _TRIED:
            raise InputError.of(
                f"{encoder.architecture} is not compiled for the NPU by this version",
                place="config.json",
                hint=f"compiled are {', '.join(_TRIED)}; `format: onnx` takes more encoders, for CPUs",
            )
    refuse_foreign_thresholds(loaded, encoder.kind, encoder.architecture)
    layout = _layout(encoder, artifact.quantize.scheme)
    lines = calibration_lines(loaded, artifact, index)
    return RknnPlan(
        name=artifact_name(artifact),
        summary=summarize(
            loaded, target, artifact, encoder,
            files=(layout.file,), output_bytes=layout.size_bytes, held_bytes=layout.device_bytes,
            bytes_by_type=layout.bytes_by_type,
            notes=_notes(encoder, layout, target, runtime_of(target, artifact)),
        ),
        numbers={**numbers_of(artifact, lines), "length": encoder.context},
        settings=artifact,
        encoder=encoder,
        layout=layout,
        calibration_lines=lines,
    )  # fmt: skip


def _layout(encoder: Encoder, scheme: str) -> RknnLayout:
    weights = count_weights(encoder)
    others = weights.linears + weights.vectors
    return plan_layout(embeddings=weights.embeddings, others=others, layers=encoder.layers, scheme=scheme)


def _notes(encoder: Encoder, layout: RknnLayout, target: Target, runtime: Runtime) -> tuple[str, ...]:
    notes = [
        f"every text is padded to {encoder.context} tokens (the recipe's context), which the NPU computes whole",
        "not reproducible: rknn-toolkit2 writes other bytes each time; the proof is of the simulator, not the NPU",
    ]
    if len(layout.routes) > 1:
        notes.append(
            f"{len(layout.routes)} routes are tried, the smallest first; the plan's size is that of the largest"
        )
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
    weights = count_weights(encoder)
    # q8_0: 34 bytes for 32 weights, and on the CPU only the texts' own tokens are computed.
    on_cpu = 34 / 32 * (weights.embeddings + weights.linears)
    return (
        f"{runtime.title} holds {layout.device_bytes / 2**20:.0f} MiB of weights and computes {encoder.context} tokens "
        f"for every text; {cpu.title} with `format: gguf`, q8_0, holds {on_cpu / 2**20:.0f} MiB and computes "
        "a text's own tokens; which is faster was not measured, the NPU leaves the CPU free"
    )
