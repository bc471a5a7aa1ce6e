"""Runs the toolchain `optimum` for image classifiers: exports one, compared with torch before it counts.

Rules: tools work in a scratch folder; a result is taken when it is what was planned, whatever the exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ProofError, ToolError
from edgec.events import Reporter
from edgec.formats.onnx.classifier import INPUT, OUTPUT, Classifier
from edgec.formats.onnx.classifier_layout import classifier_graph
from edgec.formats.onnx.graph_routes import GraphLayout
from edgec.formats.onnx.graph_run import graph_memory_mib
from edgec.formats.onnx.layout import MODEL_FILE, OPSET
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

EXPORT_SCRIPT = Path(__file__).parent / "inside" / "export_classifier.py"
# Threads that spin while they wait for each other make a busy machine slower, and the result no other.
_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
_SCRATCH = ".onnx-scratch"
_TIMEOUT_S = 1800
# Of torch and the exporter, beside copies of the weights; measured in docs/onnx.md.
_EXPORT_MIB, _EXPORT_COPIES = 700, 4
# onnxruntime and torch add in another order; a graph that is wrong is farther away by orders of magnitude.
_MAX_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class ExportedClassifier:
    """A float32 graph. `interface`: its inputs and outputs; `max_difference`: to torch, relative to the largest."""

    interface: Mapping[str, Any]
    max_difference: float
    versions: Mapping[str, str]
    peak_mib: int


def export_memory_mib(classifier: Classifier, float_bytes: int) -> int:
    """What the export needs: three images are compared."""
    return _EXPORT_MIB + ((_EXPORT_COPIES * float_bytes + 3 * 4 * 8 * classifier.activation) >> 20)


def quantize_memory_mib(classifier: Classifier) -> int:
    """What quantizing needs: calibration sees every tensor between layers of one image."""
    held = 2 * 4 * 8 * classifier.activation
    return graph_memory_mib(classifier_graph(classifier)) + (held >> 20)


def export_classifier(
    environment: Environment,
    checkpoint: Checkpoint,
    classifier: Classifier,
    layout: GraphLayout,
    out: Path,
    *,
    report: Reporter,
    log: Path,
    script: Path = EXPORT_SCRIPT,
) -> ExportedClassifier:
    """Writes `model.onnx` into the folder `out`. Raises ToolError: died, hung, or another graph than was planned;
    ProofError: a graph that is not torch's model."""
    with scratch_in(out, _SCRATCH) as scratch:
        made = scratch / MODEL_FILE
        request = {
            "checkpoint": str(checkpoint.root.resolve()),
            "scratch": str(scratch.resolve()),
            "out": str(made.resolve()),
            "opset": OPSET,
            "shape": list(classifier.shape),
            "input": INPUT,
            "output": OUTPUT,
            "threads": usable_cores(),
        }
        memory_mib = export_memory_mib(classifier, layout.float_bytes)
        answer = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, env=_ENV, report=report
        )
        require_file(made, "Optimum's export", log, most_bytes=layout.size_bytes)
        exported = _exported(answer, classifier, script, log)
        keep(made, out / MODEL_FILE)
    return exported


def _exported(answer: Mapping[str, Any], classifier: Classifier, script: Path, log: Path) -> ExportedClassifier:
    hint = f"the whole output is in {log}"
    try:
        interface = {"inputs": answer["inputs"], "outputs": answer["outputs"]}
        told = [(value["name"], value["dtype"], value["shape"][1:]) for side in interface.values() for value in side]
        difference, opset = float(answer["max_difference"]), answer["opset"]
        found = ExportedClassifier(interface, difference, answer["versions"], int(answer["peak_mib"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError.of(f"{script.name} gave an answer of another form: {error!r}", hint=hint) from error
    wanted = [(INPUT, "float32", list(classifier.shape[1:])), (OUTPUT, "float32", [len(classifier.labels)])]
    if told != wanted or opset != OPSET:
        raise ToolError.of(
            f"Optimum's export has {told} in opset {opset}, and {wanted} in opset {OPSET} were planned", hint=hint
        )
    if not difference <= _MAX_DIFFERENCE:
        raise ProofError.of(
            f"the exported graph differs from torch by {difference:.2g} of its largest value "
            f"(at most {_MAX_DIFFERENCE:g})",
            hint=f"the export is wrong; report it with the log {log}",
        )
    return found
