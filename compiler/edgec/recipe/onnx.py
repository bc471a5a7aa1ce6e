"""The artifact for onnxruntime: an encoder as one ONNX file, or a decoder with its KV cache as a folder.

Rule: settings only; which routes a scheme tries is the format's business (`edgec.formats.onnx.routes`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgec.documents.typed import mistake
from edgec.recipe.document import Document, RelativePath

OnnxScheme = Literal["auto", "fp32", "fp16", "int8", "int8_static", "int8_fine", "int4"]
# How a decoder's 4-bit codes are found.
OnnxAlgorithm = Literal["default", "rtn", "k_quant"]
BlockSize = Literal[16, 32, 64, 128, 256]

# Schemes that run the model on a text: to find ranges, or to choose among routes.
ON_A_TEXT = frozenset({"auto", "int8_static"})
# A recipe does not say what its model is.
_DECODERS = "a text generator takes `int4`, `int8`, `fp16` or `fp32`, all without calibration"


class OnnxQuantize(Document):
    """How the weights of an ONNX model are quantized."""

    scheme: OnnxScheme = Field(
        "auto",
        description="`int8`: integer matrix products, scales of activations found at run time; `int8_static`: found on "
        "the calibration text; `int8_fine`: weights in 8 bits, activations in blocks; `int4`: weights in blocks of 4 "
        "bits; `auto`: the smallest route that passes what the proof demands, on the calibration text. Decoders: "
        "`int4`, `int8` (blocks of weights), `fp16`, `fp32`.",
    )
    calibration: RelativePath | None = Field(
        None,
        description="A UTF-8 text with one passage per line, relative to the recipe; `auto` and `int8_static` need it.",
        examples=["calibration.txt"],
    )
    max_lines: int = Field(64, ge=8, le=1024, description="Lines of the calibration text to run, evenly over it.")
    block_size: BlockSize = Field(
        32,
        description="Decoders in `int4` and `int8`: weights that share a scale. Larger: a smaller file, farther off.",
    )
    algorithm: OnnxAlgorithm = Field(
        "default",
        description="Decoders in `int4`: `default` and `rtn` round to the nearest code, `k_quant` also searches scales "
        "and offsets.",
    )

    @model_validator(mode="after")
    def _is_used(self) -> OnnxQuantize:
        runs = self.scheme in ON_A_TEXT
        if runs and self.calibration is None:
            hint = (
                "add `calibration:` like the model's use: passages, one per line, or a folder of images, or samples of "
                f"an .onnx file; `int8_fine` needs none; {_DECODERS}"
            )
            raise mistake(f"`{self.scheme}` runs the model on a text or on samples, and none is named", hint)
        if not runs and self.calibration is not None:
            hint = f"remove `calibration`, or choose `auto` or `int8_static`; {_DECODERS}"
            raise mistake(
                f"`{self.scheme}` looks at no text and no samples, so a calibration has no use", hint, at="calibration"
            )
        if not runs and "max_lines" in self.model_fields_set:
            hint = f"remove `max_lines`, or choose `auto` or `int8_static`; {_DECODERS}"
            raise mistake(f"`{self.scheme}` looks at no text and no samples", hint, at="max_lines")
        return self


class OnnxArtifact(Document):
    """An ONNX file for onnxruntime."""

    format: Literal["onnx"] = Field(description="The kind of file to make.", examples=["onnx"])
    graph: Literal["genai", "standard"] = Field(
        "genai",
        description="Decoders: `genai` has onnxruntime's own operators, for onnxruntime-genai; `standard` has those of "
        "the ONNX standard alone, in `fp32`.",
    )
    quantize: OnnxQuantize = Field(description="How the weights are quantized.")
