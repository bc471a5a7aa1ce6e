"""The artifacts from which a Jetson builds an engine: TensorRT Edge-LLM and TensorRT-LLM.

Rule: settings only. Schemes that no device of ours takes (FP8, NVFP4) can be written, so that the target says why it
refuses them and what to use instead.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgec.documents.shape import InWords
from edgec.documents.typed import mistake
from edgec.recipe.document import Document, RelativePath

EdgeLlmScheme = Literal["fp16", "int8_sq", "int4_awq", "int4_gptq", "int4_rtn", "fp8", "nvfp4"]
TrtLlmScheme = Literal[
    "fp16", "int8_wo", "int4_wo", "int8_sq", "int4_awq", "int4_gptq", "int4_rtn", "fp8", "nvfp4",
]  # fmt: skip

TrtLlmVersion = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-jetson)?$"), InWords("three numbers with dots")]

# Schemes whose quantizer runs the model on a text, and those that group columns.
CALIBRATED = frozenset({"int8_sq", "int4_awq", "int4_gptq"})
GROUPED = frozenset({"int4_awq", "int4_gptq", "int4_rtn"})
# Schemes that Model Optimizer makes as well.
_MODELOPT = frozenset({"int8_sq", "int4_awq"})


class WeightQuantize(Document):
    """What the schemes of all engines have in common."""

    group_size: int = Field(128, ge=16, description="Columns that share a scale, in the schemes of 4 bits.")
    calibration: RelativePath | None = Field(
        None,
        description="A UTF-8 text like the ones the model will see, relative to the recipe; awq, gptq and sq need it.",
        examples=["calibration.txt"],
    )
    max_tokens: int = Field(16384, ge=256, description="Tokens of the calibration text to run, from its start.")
    tool: Literal["edgec", "modelopt"] = Field(
        "edgec",
        description="Who quantizes: edgec, in bounded memory, or NVIDIA's Model Optimizer in its own toolchain.",
    )


def _refuse_unused(settings: WeightQuantize, scheme: str, *, calibrates: bool) -> None:
    """A setting that nothing reads is a misunderstanding. Raises a mistake at it."""
    if settings.calibration is not None and not calibrates:
        hint = f"choose a scheme that uses it ({', '.join(sorted(CALIBRATED))}), or remove `calibration`"
        raise mistake(f"`{scheme}` looks at no text, so a calibration has no use", hint, at="calibration")
    if "group_size" in settings.model_fields_set and scheme not in GROUPED:
        hint = "remove `group_size`, or choose a scheme of 4 bits with groups"
        raise mistake(f"`{scheme}` has no groups", hint, at="group_size")
    if settings.tool == "modelopt" and scheme not in _MODELOPT:
        hint = "use `tool: edgec`, or one of `int4_awq`, `int8_sq`"
        raise mistake(f"Model Optimizer does not make `{scheme}`", hint, at="tool")


class EdgeLlmQuantize(WeightQuantize):
    """How the weights of an Edge-LLM model are quantized."""

    scheme: EdgeLlmScheme = Field("int4_awq", description="How the weights are stored, and what the GPU multiplies.")

    @model_validator(mode="after")
    def _is_used(self) -> EdgeLlmQuantize:
        _refuse_unused(self, self.scheme, calibrates=self.scheme in CALIBRATED)
        return self


class TrtLlmQuantize(WeightQuantize):
    """How the weights and the KV cache of a TensorRT-LLM model are quantized."""

    scheme: TrtLlmScheme = Field("int4_awq", description="How the weights are stored, and what the GPU multiplies.")
    kv_cache: Literal["fp16", "int8"] = Field(
        "fp16", description="Elements of the KV cache; int8 needs `calibration` for its scales."
    )

    @model_validator(mode="after")
    def _is_used(self) -> TrtLlmQuantize:
        _refuse_unused(self, self.scheme, calibrates=self.scheme in CALIBRATED or self.kv_cache == "int8")
        if self.kv_cache == "int8" and self.calibration is None:
            hint = "add `calibration:` with a text like the ones the model will see, or use `kv_cache: fp16`"
            raise mistake(
                "the scales of an INT8 KV cache are measured on a text, and none is named", hint, at="kv_cache"
            )
        return self


class Engine(Document):
    """The limits an engine is built for; `batch` and `context` stand at the top of the recipe."""

    max_input_tokens: int | None = Field(
        None,
        ge=1,
        description="Longest prompt. Default: the context less `max_output_tokens`, or three quarters of it.",
    )
    max_output_tokens: int | None = Field(
        None, ge=1, description="Longest answer. Default: what the context leaves after the prompt."
    )


class EdgeLlmArtifact(Document):
    """ONNX for TensorRT Edge-LLM, which a Jetson makes its engine from."""

    format: Literal["edgellm"] = Field(description="The kind of file to make.", examples=["edgellm"])
    quantize: EdgeLlmQuantize = Field(EdgeLlmQuantize(), description="How the weights are quantized.")
    engine: Engine = Field(Engine(), description="What the engine is built for.")


class TrtLlmArtifact(Document):
    """A TensorRT-LLM checkpoint, which a Jetson with JetPack 6.1 makes its engine from."""

    format: Literal["trtllm"] = Field(description="The kind of file to make.", examples=["trtllm"])
    version: TrtLlmVersion | None = Field(
        None,
        description="The TensorRT-LLM that builds the engine. Default: the one for the target's JetPack.",
        examples=["0.12.0-jetson"],
    )
    quantize: TrtLlmQuantize = Field(TrtLlmQuantize(), description="How weights and KV cache are quantized.")
    engine: Engine = Field(Engine(), description="What the engine is built for.")
