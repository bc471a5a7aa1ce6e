"""Nomic BERT as a float32 graph: written by edgec in the toolchain `optimum`, compared with transformers' own class.

Rule: Optimum's transformers has no such class and the publisher's code is not run, so the graph is edgec's, and what it
is compared with is another implementation in another toolchain.
"""

from __future__ import annotations

from pathlib import Path

from edgec.events import Reporter
from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.layout import MODEL_FILE, OPSET, OnnxLayout
from edgec.formats.onnx.nomic_bert import tensor_names
from edgec.formats.onnx.run import EXPORT_SCRIPT, Exported, export_memory_mib, source_request, take_graph
from edgec.formats.tool_files import keep, scratch_in
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

WRITE_SCRIPT = EXPORT_SCRIPT.with_name("write_nomic_bert.py")
OUTPUTS_SCRIPT = EXPORT_SCRIPT.with_name("torch_outputs.py")
_SCRATCH = ".onnx-scratch"
_OUTPUTS = "outputs.npz"
_TIMEOUT_S = 1800


def write_nomic_bert(
    environments: tuple[Environment, Environment],
    checkpoint: Checkpoint,
    encoder: Encoder,
    layout: OnnxLayout,
    out: Path,
    *,
    report: Reporter,
    log: Path,
) -> Exported:
    """Writes the graph into the folder `out`. `environments`: that in which it is written, and that of the source.

    Raises ToolError: died, hung; ProofError: it is not the model's.
    """
    environment, source_environment = environments
    numbers = encoder.numbers or {}
    memory_mib = export_memory_mib(layout.float_bytes)
    with scratch_in(out, _SCRATCH) as scratch:
        reference = scratch / _OUTPUTS
        shape = {"vocabulary": encoder.vocabulary, "positions": encoder.positions, "types": encoder.types}
        asked = {
            **source_request(checkpoint, encoder), **shape, "threads": usable_cores(),
            "out": str(reference.resolve()),
        }  # fmt: skip
        run_json(
            source_environment, OUTPUTS_SCRIPT, asked, timeout_s=_TIMEOUT_S, log=log.with_name("onnx-source.log"),
            memory_mib=memory_mib, report=report,
        )  # fmt: skip
        header = checkpoint.header
        request = {
            "files": sorted({str((checkpoint.root / tensor.file).resolve()) for tensor in header.tensors.values()}),
            "names": tensor_names(encoder, header.tensors),
            "heads": encoder.heads,
            "width": encoder.width,
            "theta": numbers["rope_theta"],
            "epsilon": numbers["layer_norm_eps"],
            "opset": OPSET,
            "out": str((scratch / MODEL_FILE).resolve()),
            "beside": layout.graph_beside,
            "reference": str(reference.resolve()),
        }
        answer = run_json(
            environment, WRITE_SCRIPT, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, report=report
        )
        exported = take_graph(answer, scratch, encoder, layout, script=WRITE_SCRIPT, log=log)
        for name in layout.graph_files:
            keep(scratch / name, out / name)
    return exported
