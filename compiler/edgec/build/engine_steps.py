"""The steps that make an artifact from which a device builds an engine, and prove it in another framework.

Rule: what a vendor's tool wrote is taken apart and compared with the weights it was made from before it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from edgec.build.context import StepContext
from edgec.build.proofs import REFERENCE_FILE, commit_proof
from edgec.bundle.finalize_plan import plan_path
from edgec.documents.canonical import canonical_json
from edgec.formats.edgellm.decode import decode_checkpoint as decode_edgellm
from edgec.formats.edgellm.export import export_edgellm
from edgec.formats.edgellm.layout import EdgeLlmLayout
from edgec.formats.trtllm.check import check_against_source
from edgec.formats.trtllm.decode import decode_checkpoint as decode_trtllm
from edgec.formats.trtllm.layout import TrtLlmLayout, plan_trtllm
from edgec.formats.trtllm.write import write_trtllm
from edgec.plan.engine_actions import COMPARE_TOOLCHAIN
from edgec.plan.engine_model import EnginePlan, PlannedQuantization
from edgec.plan.model import Action
from edgec.prove.decoder_pair.pair import DecoderPair, prove_decoder_pair
from edgec.prove.model import NotVerified, TensorError
from edgec.quantize.modelopt import quantize_with_modelopt
from edgec.quantize.plain import write_plain
from edgec.quantize.ranges import kv_ranges
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import QuantizeSettings
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.source.place import placed_in
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained, write_file
from edgec.store.remains import delete, make_usable

RANGES_FILE = "kv-ranges.json"
_DECODED = "decoded"
_PLAIN = "plain-source"
_QUANTIZED_SOURCE = NotVerified(
    what="quality of the source's own quantization",
    why="the source is quantized already; the artifact is compared with it, not with the model it was made from",
)
_TITLES = {"edgellm": "TensorRT Edge-LLM", "trtllm": "TensorRT-LLM"}


def run_quantize(context: StepContext, action: Action, work: Workspace) -> Result:
    """Quantizes the source's weights into a Hugging Face checkpoint."""
    quantized = next(q for a in context.plan.engines if (q := a.quantized) is not None and q.action == action.name)
    text = ""
    if quantized.calibration is not None:
        text = context.text(quantized.calibration, "calibration text", action.inputs["calibration"])
    checkpoint = context.checkpoint()
    with context.weights_unchanged(), placed_in(str(checkpoint.root)):
        return _quantize(context, action, work, quantized, text)


def _quantize(
    context: StepContext, action: Action, work: Workspace, quantized: PlannedQuantization, text: str
) -> Result:
    checkpoint, report = context.checkpoint(), context.report
    if quantized.tool == "edgec":
        made = quantize_checkpoint(checkpoint, quantized.layout, text, work.folder, report=report, action=action.name)
    else:
        made = quantize_with_modelopt(
            context.environment(quantized.tool), checkpoint, quantized.layout, text, work.folder,
            report=report, action=action.name, log=context.logs / "modelopt.log",
        )  # fmt: skip
    facts = {"errors": [asdict(error) for error in made.errors], **made.facts}
    return work.commit(dict.fromkeys(made.files), facts)


def run_ranges(context: StepContext, action: Action, work: Workspace) -> Result:
    """Measures the largest K and V of each layer on the calibration text."""
    artifact = next(a for a in context.plan.engines if a.ranges_action == action.name)
    quantize = artifact.settings.quantize
    text = context.text(quantize.calibration or "", "calibration text", action.inputs["calibration"])
    with context.weights_unchanged():
        found = kv_ranges(
            context.checkpoint(), text, work.folder / "scratch",
            report=context.report, action=action.name,
            settings=QuantizeSettings("rtn", max_tokens=quantize.max_tokens),
        )  # fmt: skip
    ranges = [[layer.key, layer.value] for layer in found]
    write_file(work.folder / RANGES_FILE, canonical_json(ranges))
    return work.commit({RANGES_FILE: None}, {"ranges": ranges})


def run_checkpoint(context: StepContext, action: Action, work: Workspace) -> Result:
    """Writes a TensorRT-LLM checkpoint, reads it back and compares every tensor."""
    artifact = _artifact(context, action.name)
    layout = artifact.backend.layout
    if not isinstance(layout, TrtLlmLayout):
        raise TypeError("the step is for TensorRT-LLM")
    ranges = None
    if artifact.measures_kv:
        ranges = [(float(k), float(v)) for k, v in context.result(artifact.ranges_action).facts["ranges"]]
    with _weights_of(context, artifact) as checkpoint, open_weights(checkpoint) as weights:
        if artifact.quantized is not None and artifact.quantized.tool != "edgec":
            # Its layout of the same codes and scales is its own.
            layout = plan_trtllm(
                checkpoint.header, scheme=artifact.scheme, version=artifact.backend.version, kv_cache=layout.kv_cache
            )
        written = write_trtllm(
            weights, layout, work.folder, kv_ranges=ranges, report=context.report, action=action.name
        )
        differences = check_against_source(weights, layout, work.folder, report=context.report, action=action.name)
    facts = {"files": list(written.files), "tensors": [asdict(d) for d in differences]}
    return work.commit(dict.fromkeys(written.files), facts)


def run_export(context: StepContext, action: Action, work: Workspace) -> Result:
    """Runs Edge-LLM's exporter, which is believed nothing: graph and weights are compared with the checkpoint."""
    artifact = _artifact(context, action.name)
    layout = artifact.backend.layout
    if not isinstance(layout, EdgeLlmLayout) or layout.version.toolchain is None:
        raise TypeError("the step is for an Edge-LLM that can be had")
    environment = context.environment(layout.version.toolchain)
    with _weights_of(context, artifact) as checkpoint:
        made = export_edgellm(
            environment, checkpoint, layout, work.folder,
            report=context.report, action=action.name, log=context.logs / "edgellm-export.log",
        )  # fmt: skip
    facts = {
        "files": list(made.files),
        "structure": asdict(made.structure),
        "compared": len(made.tensors),
        "max_abs": max((d.max_abs for d in made.tensors), default=0.0),
    }
    return work.commit(dict.fromkeys(made.files), facts)


@contextmanager
def _weights_of(context: StepContext, artifact: EnginePlan) -> Iterator[Checkpoint]:
    """The checkpoint that the artifact is made of: the quantized one, or the source, which must not change in it."""
    if artifact.quantized is None:
        with context.weights_unchanged():
            yield context.checkpoint()
        return
    result = context.result(artifact.quantized.action)
    digests = {file.name: file.digest for file in result.files}
    yield open_local(result.folder, licence=None, digest_file=lambda path: digests[path.name])


def run_compare(context: StepContext, action: Action, work: Workspace) -> Result:
    """Decodes the artifact and proves it against the source in torch. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in context.plan.engines if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    decoded = work.folder / _DECODED
    with explained(decoded):
        delete(decoded)
        make_usable(decoded)
    config = context.plan.source.header.config
    # By what was planned: an artifact that says something else of itself fails here.
    match artifact.backend.layout:
        case EdgeLlmLayout():
            decode_edgellm(compiled.folder, config, decoded)
        case TrtLlmLayout():
            decode_trtllm(compiled.folder, config, decoded, report=context.report, action=action.name)
    with context.weights_unchanged():
        source = _plain_source(context, action, work)
        proof = prove_decoder_pair(
            _pair(context, action, artifact, compiled, source=source, decoded=decoded),
            context.environment(COMPARE_TOOLCHAIN),
            work.folder / REFERENCE_FILE,
            context.report,
        )
    if context.checkpoint().header.quantization is not None:
        proof = proof.model_copy(update={"not_verified": (*proof.not_verified, _QUANTIZED_SOURCE)})
    return commit_proof(work, proof, REFERENCE_FILE)


def _plain_source(context: StepContext, action: Action, work: Workspace) -> Checkpoint:
    """The source as torch can read it: one that is quantized already is written out in float16."""
    checkpoint = context.checkpoint()
    if checkpoint.header.quantization is None:
        return checkpoint
    folder = work.folder / _PLAIN
    with explained(folder):
        delete(folder)
        make_usable(folder)
    return write_plain(checkpoint, folder, report=context.report, action=action.name)


def _pair(
    context: StepContext, action: Action, artifact: EnginePlan, compiled: Result, *, source: Checkpoint, decoded: Path
) -> DecoderPair:
    recipe = context.plan.loaded.recipe
    names = [f.name for f in compiled.files if f.name.startswith(("tokenizer", "special_tokens", "chat_template"))]
    return DecoderPair(
        name=artifact.name,
        source=source,
        candidate=decoded,
        runtime=f"{_TITLES[artifact.format]} {artifact.backend.version}",
        scheme=artifact.scheme,
        settings=recipe.prove,
        held_out_text=context.held_out_text(action),
        tensors=_errors(context, artifact, compiled),
        artifact_files={name: compiled.path(name).read_bytes() for name in names},
        logs=context.logs,
    )


def _errors(context: StepContext, artifact: EnginePlan, compiled: Result) -> tuple[TensorError, ...]:
    """How far the weights are from the source's: by the quantization, or by the checkpoint's own types."""
    if artifact.quantized is None:
        return tuple(TensorError(**t) for t in compiled.facts.get("tensors", ()))
    bits = artifact.quantized.settings.bits
    shapes = artifact.quantized.layout.decoder.linear_shapes()
    return tuple(
        TensorError(
            name=f"{error['name']}.weight",
            type=f"i{bits}",
            elements=(size := _elements(shapes, error["name"])),
            bytes=size * bits // 8,
            relative_rmse=error["relative_rmse"],
        )
        for error in context.result(artifact.quantized.action).facts["errors"]
    )


def _elements(shapes: dict[str, tuple[int, int]], name: str) -> int:
    """`model.layers.3.mlp.up_proj` -> weights of any `mlp.up_proj`."""
    outputs, inputs = shapes[".".join(name.split(".")[-2:])]
    return outputs * inputs


def _artifact(context: StepContext, compile_action: str) -> EnginePlan:
    return next(a for a in context.plan.engines if a.compile_action == compile_action)


def finalize_files(artifact: EnginePlan, proof: Result) -> dict[str, bytes]:
    """What the device needs beside the artifact: what to do, and the answers to compare the engine's with."""
    return {
        plan_path(artifact.name): artifact.finalize.to_bytes(),
        artifact.finalize.proof.reference: proof.path(REFERENCE_FILE).read_bytes(),
    }
