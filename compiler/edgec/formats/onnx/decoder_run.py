"""Makes an ONNX decoder in a toolchain: by onnxruntime-genai's builder (`genai`), or by Optimum's export (`optimum`).

Rules: tools work in a scratch folder; a result is taken when it is what was planned, whatever the exit code; what a
killed run left is removed by the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.onnx.decoder_files import CONFIG_FILE, device_config
from edgec.formats.onnx.decoder_layout import DATA_FILE, MODEL_FILE, DecoderLayout
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.quantize.architecture import Decoder
from edgec.source.model import Checkpoint
from edgec.store.atomic import write_file
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAINS = {"genai": "genai", "standard": "optimum"}
_INSIDE = Path(__file__).parent / "inside"
SCRIPTS = {"genai": _INSIDE / "build_decoder.py", "standard": _INSIDE / "export_decoder.py"}
_MAKERS = {"genai": "onnxruntime-genai's builder", "standard": "Optimum's export"}
_SCRATCH = ".onnx-scratch"
# Threads that spin while they wait for each other make a busy machine slower, and the result no other.
_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
# A limit against a tool that hangs: on two cores a decoder of 0.5 billion parameters takes less than a minute.
_TIMEOUT_S = 4 * 3600.0
_STANDARD_OPSET = 18
# Measured in docs/onnx.md: the tools themselves, and copies of the weights in float32.
_FIXED_MIB = 700
_COPIES = {"int4": 2.2, "int8": 2.7, "fp16": 1.2, "fp32": 1.2}
_STANDARD_COPIES = 2.75
# The builder's graph for the CPU repeats keys and values and fails in onnxruntime in float16; the one for CUDA has
# GroupQueryAttention, which the CPU has as well.
_PROVIDERS = {"fp16": "cuda"}


@dataclass(frozen=True)
class MadeDecoder:
    """What was made. `interface`: inputs and outputs, as manifests have them; `operators`: how many of each."""

    files: tuple[str, ...]
    interface: Mapping[str, Any]
    operators: Mapping[str, int]
    versions: Mapping[str, str]
    peak_mib: int


def make_memory_mib(layout: DecoderLayout) -> int:
    """What making it needs."""
    copies = _COPIES[layout.scheme] if layout.kind == "genai" else _STANDARD_COPIES
    return _FIXED_MIB + int(copies * layout.float_bytes / 2**20)


def make_decoder(
    environment: Environment,
    checkpoint: Checkpoint,
    decoder: Decoder,
    layout: DecoderLayout,
    out: Path,
    *,
    context: int,
    report: Reporter,
    log: Path,
    script: Path | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> MadeDecoder:
    """Writes `layout.files` into the folder `out`. `context`: tokens that the device's KV cache holds.

    Raises ToolError: died, hung, or made another graph than was planned.
    """
    script = script or SCRIPTS[layout.kind]
    with scratch_in(out, _SCRATCH) as scratch:
        made = scratch / "kept"
        made.mkdir()
        answer = run_json(
            environment, script, _request(checkpoint, decoder, layout, scratch, made), timeout_s=timeout_s, log=log,
            memory_mib=make_memory_mib(layout), env=_ENV, report=report,
        )  # fmt: skip
        require_file(made / DATA_FILE, _MAKERS[layout.kind], log, missing="weights", most_bytes=layout.data_bytes)
        require_file(made / MODEL_FILE, _MAKERS[layout.kind], log, most_bytes=layout.graph_bytes)
        try:
            found = MadeDecoder(
                layout.files, {side: [_port(*port) for port in answer[side]] for side in ("inputs", "outputs")},
                answer["operators"], answer["versions"], int(answer["peak_mib"]),
            )  # fmt: skip
            wrong = [*_wrong_interface(answer, decoder, layout), *_wrong_operators(answer, decoder, layout)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{script.name} gave an answer of another form: {error!r}"
            raise ToolError.of(message, hint=f"the whole output is in {log}") from error
        if wrong:
            message = f"{_MAKERS[layout.kind]} made another graph than was asked for: {'; '.join(wrong)}"
            raise ToolError.of(message, hint=f"the whole output is in {log}")
        if layout.kind == "genai":
            require_file(made / CONFIG_FILE, _MAKERS[layout.kind], log, missing=CONFIG_FILE)
            config = device_config((made / CONFIG_FILE).read_bytes(), decoder, context=context, log=str(log))
            write_file(out / CONFIG_FILE, config)
        for name in layout.carried:
            write_file(out / name, checkpoint.header.files[name])
        for name in (DATA_FILE, MODEL_FILE):
            keep(made / name, out / name)
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def _request(
    checkpoint: Checkpoint, decoder: Decoder, layout: DecoderLayout, scratch: Path, made: Path
) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint.root.resolve()),
        "scratch": str(scratch.resolve()),
        "out": str(made.resolve()),
        "precision": layout.scheme,
        "provider": _PROVIDERS.get(layout.scheme, "cpu"),
        "options": list(layout.options),
        "opset": _STANDARD_OPSET,
        "tied": layout.tied,
        "layers": decoder.layers,
        "threads": usable_cores(),
    }


def _port(name: str, kind: str, shape: Sequence[int | str]) -> dict[str, Any]:
    dtype = "float32" if kind == "FLOAT" else kind.lower()
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def _wrong_interface(answer: Mapping[str, Any], decoder: Decoder, layout: DecoderLayout) -> list[str]:
    """What stands against inputs and outputs: token ids in, logits out, keys and values of every layer in and out."""
    kind = "FLOAT16" if layout.scheme == "fp16" else "FLOAT"
    wrong = []
    inputs = {name: (kind, shape) for name, kind, shape in answer["inputs"]}
    outputs = {name: (kind, shape) for name, kind, shape in answer["outputs"]}
    layers = [f"{i}.{part}" for i in range(decoder.layers) for part in ("key", "value")]
    asked = {"input_ids", "attention_mask"}
    past = {f"past_key_values.{layer}" for layer in layers}
    if not asked | past <= inputs.keys() <= asked | past | {"position_ids"}:
        wrong.append(f"it takes {', '.join(sorted(inputs.keys() - past))} and {len(inputs)} inputs in all")
    if outputs.keys() != {"logits", *(f"present.{layer}" for layer in layers)}:
        wrong.append(f"it gives {len(outputs)} outputs")
    for name in past & inputs.keys():
        found, shape = inputs[name]
        # The builder's graph has a name for the width of a head.
        if found != kind or shape[1] != decoder.kv_heads or shape[3] not in (decoder.head_dim, "kv_cache_dim"):
            wrong.append(f"{name} is {found} {shape}")
    if "logits" in outputs and outputs["logits"][1][-1] != decoder.vocabulary:
        wrong.append(f"logits are {outputs['logits'][1]}, the vocabulary has {decoder.vocabulary} tokens")
    return wrong


def _wrong_operators(answer: Mapping[str, Any], decoder: Decoder, layout: DecoderLayout) -> list[str]:
    """What stands against the operators: attention once a layer, every matrix in the scheme's own operator."""
    operators = answer["operators"]
    if layout.kind == "standard":
        foreign = sorted(name for name in operators if ":" in name)
        return [f"it has operators beyond the standard: {', '.join(foreign)}"] if foreign else []
    attention = operators.get("com.microsoft:GroupQueryAttention", 0)
    wrong = [] if attention == decoder.layers else [f"it has GroupQueryAttention {attention} times"]
    plain, blocks = operators.get("MatMul", 0), operators.get("com.microsoft:MatMulNBits", 0)
    is_quantized = layout.scheme in ("int4", "int8")
    # Queries, keys and values may be one matrix or three.
    least = 5 * decoder.layers + 1
    if (is_quantized and (plain or blocks < least)) or (not is_quantized and (blocks or plain < least)):
        wrong.append(f"it has {plain} plain matrix products and {blocks} in blocks")
    return wrong
