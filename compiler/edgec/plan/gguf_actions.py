"""The actions that make and prove one GGUF."""

from __future__ import annotations

from dataclasses import asdict

from edgec.documents.canonical import sha256_bytes
from edgec.plan.gguf import GgufPlan
from edgec.plan.graph import STREAMING_MIB, ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.prove.thresholds import demanded, max_tensor_error
from edgec.recipe.model import Imatrix

# Memory of a llama.cpp process beside the weights it maps: buffers, logits, the vocabulary.
_RUNTIME_MIB = 500


def add_gguf(graph: ActionGraph, artifact: GgufPlan) -> str:
    """Adds the actions of one GGUF; returns the key of its proof."""
    reference = _reference(graph, artifact)
    inputs = {"source": graph.model}
    needs = graph.fetched
    if (imatrix := artifact.settings.quantize.imatrix) is not None:
        more, makers = _imatrix(graph, imatrix, artifact, reference)
        inputs |= more
        needs += makers
    compiled = graph.add(
        Draft(
            kind="compile",
            name=artifact.compile_action,
            settings={"layout": artifact.layout.digest, "scheme": artifact.scheme},
            inputs=inputs,
            needs=needs,
            reason=f"the recipe asks for {artifact.scheme}",
            cost=Cost(output_bytes=artifact.layout.size_bytes, memory_mib=STREAMING_MIB),
        )
    )
    return _proof(graph, artifact, compiled, reference)


def _reference(graph: ActionGraph, artifact: GgufPlan) -> str:
    return graph.add(
        Draft(
            kind="reference",
            name=artifact.reference_action,
            settings={"layout": artifact.reference.digest},
            inputs={"source": graph.model},
            needs=graph.fetched,
            reason="the unquantized model, which the artifact is compared with",
            cost=Cost(output_bytes=artifact.reference.size_bytes, memory_mib=STREAMING_MIB),
        )
    )


def _imatrix(
    graph: ActionGraph, imatrix: Imatrix, artifact: GgufPlan, reference: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The importance matrix as an input of the compile, and the action that makes it, if one does."""
    if imatrix.calibration is None:
        if imatrix.file is None:
            raise ValueError("a checked recipe names a calibration text or an imatrix file")
        return {"imatrix_file": sha256_bytes(graph.loaded.resolve(imatrix.file).read_bytes())}, ()
    text = graph.calibration(imatrix.calibration)
    settings = {"max_tokens": imatrix.max_tokens}
    name = f"imatrix-{sha256_bytes((text + reference + str(settings)).encode())[7:13]}"
    key = graph.add(
        Draft(
            kind="imatrix",
            name=name,
            settings=settings,
            inputs={"reference": reference, "calibration": text},
            needs=(artifact.reference_action,),
            reason=f"what matters in the activations of {imatrix.calibration}, at most {imatrix.max_tokens} tokens",
            cost=Cost(memory_mib=(artifact.reference.size_bytes >> 20) + _RUNTIME_MIB),
        )
    )
    return {"imatrix": key}, (name,)


def _proof(graph: ActionGraph, artifact: GgufPlan, compiled: str, reference: str) -> str:
    prove = graph.loaded.recipe.prove
    settings = {
        # The emulation is an action of its own.
        **prove.model_dump(mode="json", by_alias=True, exclude={"emulate"}),
        # The text counts by its content, not by its name.
        "held_out": None,
        "scheme": artifact.scheme,
        "thresholds": asdict(demanded(artifact.scheme, prove)),
        "max_tensor_errors": {name: max_tensor_error(name) for name in artifact.layout.bytes_by_type},
    }
    mapped = artifact.reference.size_bytes + artifact.layout.size_bytes
    return graph.add(
        Draft(
            kind="prove",
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "reference": reference, **graph.held_out()},
            needs=(artifact.reference_action, artifact.compile_action),
            reason=f"compare with the unquantized model in llama.cpp, on {prove.held_out or 'a built-in text'}",
            cost=Cost(memory_mib=(mapped >> 20) + 2 * _RUNTIME_MIB),
        )
    )
