"""The builds of finalize plans, per backend: command, files, and what the vendor's log says when it fails.

Rule: texts and names are those of the vendor's sources and binaries, named here; a generic `[E]` is none of them,
because TensorRT logs such lines for tactics that it then leaves out. Engine build not verified on hardware.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.bundle.finalize_plan import Build, ConfigFact, Limits, Output

# An engine holds the weights; with less than this share of them it cannot be whole.
_LEAST_SHARE = 0.5
# In the runtime module of tensorrt-edgellm 0.11.0 and in `llm_build` of its sources.
_EDGELLM_FAILURES = (
    "Failed to create ONNX parser",
    "Failed to parse ONNX file",
    "Builder is nullptr",
    "Failed to create TensorRT builder",
    "Failed to build serialized engine",
    "Failed to build and serialize engine",
    "Failed to write engine to file",
    "Failed to write config file",
    "Failed to save config to engine directory",
    "Failed to build LLM engine",
)
# `tensorrt_llm/builder.py`: after it, the build goes on and writes its config (NVIDIA/TensorRT-LLM#346).
_TRTLLM_FAILURES = ("Engine building failed",)


def edgellm_build(version: str, limits: Limits, weight_bytes: int) -> Build:
    """A build from an exported ONNX folder. `weight_bytes`: what of the weights the engine will hold."""
    return Build(
        command=(
            "edgellm-onnx-build", "--onnx-dir", "{model}", "--engine-dir", "{engine}",
            "--max-input-len", str(limits.max_input), "--max-kv-cache-capacity", str(limits.max_context),
            "--max-batch-size", str(limits.max_batch),
        ),
        outputs=(
            Output(path="llm.engine", min_bytes=max(1, int(weight_bytes * _LEAST_SHARE))),
            Output(path="config.json", min_bytes=2),
        ),
        facts=(
            ConfigFact(path="config.json", keys=("edgellm_version",), equals=version),
            ConfigFact(path="config.json", keys=("builder_config", "max_batch_size"), equals=limits.max_batch),
            ConfigFact(path="config.json", keys=("builder_config", "max_input_len"), equals=limits.max_input),
        ),
        failures=_EDGELLM_FAILURES,
        phases=("Total Weights Memory", "Engine generation completed", "Engine saved to"),
    )  # fmt: skip


def trtllm_build(version: str, command: Sequence[str], weight_bytes: int, *, batch: int) -> Build:
    """A build with `command`, a `trtllm-build` with {model} and {engine}. `weight_bytes`: as the engine holds them."""
    return Build(
        command=tuple(command),
        outputs=(
            Output(path="rank0.engine", min_bytes=max(1, int(weight_bytes * _LEAST_SHARE))),
            Output(path="config.json", min_bytes=2),
        ),
        facts=(
            ConfigFact(path="config.json", keys=("version",), equals=version),
            ConfigFact(path="config.json", keys=("build_config", "max_batch_size"), equals=batch),
        ),
        failures=_TRTLLM_FAILURES,
        phases=(
            "Total time of constructing network",
            "Build TensorRT engine",
            "Serializing engine to",
            "Engine serialized",
            "Total time of building all engines",
        ),
    )
