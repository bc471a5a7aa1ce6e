"""The recipe document: what a person writes. Frozen, strict, every field described (the schema is made from it).

Rule: nothing here reads a file or knows a target; what a value means together with others is checked by the plan.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Names that become file names, tags and registry paths.
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64)]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$", max_length=64)]

Scheme = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_0", "q4_k_m", "q4_k_s", "q4_0", "q4_1",
    "iq4_xs", "iq4_nl", "q3_k_m", "q2_k",
]  # fmt: skip
# A single tensor's type, for overrides.
TensorType = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_0", "q5_1", "q4_k", "q4_0", "q4_1", "iq4_xs", "iq4_nl", "q3_k",
    "q2_k",
]  # fmt: skip


class Document(BaseModel):
    """Base of every typed document: unknown keys are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Document):
    """Where the checkpoint comes from: a local folder or a pinned commit on the hub."""

    path: str | None = Field(
        None, description="A folder with config.json, tokenizer.json and *.safetensors, relative to the recipe."
    )
    hub: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$", description="A Hugging Face repository, `owner/name`.")
    revision: str | None = Field(
        None, description="The 40-digit commit of the hub repository; branches and tags move and are refused."
    )
    licence: str | None = Field(
        None, description="The model's licence, as an SPDX identifier or a name; recorded in the bundle."
    )
    architecture: str | None = Field(
        None,
        description="Override: treat the model as this supported `architectures` class, for example `LlamaForCausalLM`.",
    )


class Imatrix(Document):
    """An importance matrix: computed from a calibration text, or read from a file."""

    calibration: str | None = Field(None, description="A UTF-8 text, relative to the recipe.")
    max_tokens: int = Field(32768, ge=256, description="Tokens of the calibration text to run, from its start.")
    file: str | None = Field(None, description="A ready imatrix (`general.type=imatrix` GGUF), relative to the recipe.")


class TensorOverride(Document):
    """One tensor type for the tensors whose GGUF name matches a pattern; the last match wins."""

    tensors: str = Field(description="A glob over GGUF tensor names, for example `blk.*.ffn_down.weight`.")
    type: TensorType


class GgufQuantize(Document):
    """How the weights of a GGUF are quantized."""

    scheme: Scheme = Field("q4_k_m", description="llama.cpp's name of the mix, in lower case.")
    imatrix: Imatrix | None = None
    overrides: tuple[TensorOverride, ...] = ()


class GgufTokenizer(Document):
    """What cannot be read off the tokenizer's files with certainty."""

    pre: str | None = Field(None, description="Override: llama.cpp's name of the pre-tokenizer, for example `qwen2`.")
    chat_template: str | None = Field(
        None, description="A jinja file that replaces the model's chat template, relative to the recipe."
    )


class GgufArtifact(Document):
    """A GGUF for llama.cpp."""

    format: Literal["gguf"]
    quantize: GgufQuantize = GgufQuantize()
    tokenizer: GgufTokenizer = GgufTokenizer()
    shard_size_mib: int | None = Field(
        None, ge=1, description="Split the file so that no shard is larger (browsers: 512)."
    )


class Prove(Document):
    """What the proof compares and what it demands. Thresholds left out have defaults per scheme."""

    held_out: str | None = Field(
        None,
        description="A UTF-8 text the model was not calibrated on, relative to the recipe. Default: a short built-in text.",
    )
    windows: int = Field(16, ge=1, description="Windows taken evenly over the text.")
    window_tokens: int = Field(256, ge=16, description="Tokens per window; the second half of each is scored.")
    max_kl: float | None = Field(None, gt=0, description="Largest allowed mean KL divergence, in nats.")
    min_top1: float | None = Field(None, ge=0, le=1, description="Smallest allowed share of equal most likely tokens.")
    max_perplexity_ratio: float | None = Field(
        None, ge=1, description="Largest allowed perplexity, as a multiple of the unquantized model's."
    )
    min_cosine: float | None = Field(
        None, ge=0, le=1, description="Encoders: smallest allowed cosine of any embedding with the unquantized model's."
    )


class Sign(Document):
    """The key that signs the bundle. Left out: `EDGEC_SIGNING_KEY`, else the user's key, else a development key."""

    key: str | None = Field(None, description="A PEM file with an EC private key, relative to the recipe.")


class Recipe(Document):
    """One model for one target."""

    schema_: Literal["edgec/recipe/v1"] = Field(alias="schema")
    name: Slug = Field(description="The bundle's name.")
    version: Version = Field(description="The bundle's version, `1.2.3`.")
    description: str | None = Field(None, description="One line for people, recorded in the bundle.")
    target: str = Field(description="A target profile: a name from `edgec targets`, or a path to a YAML file.")
    source: Source
    context: int = Field(4096, ge=1, description="Tokens of context the device must hold: sizes the KV cache.")
    batch: int = Field(1, ge=1, description="Sequences decoded at once on the device.")
    artifacts: tuple[GgufArtifact, ...] = Field(min_length=1)
    prove: Prove = Prove()
    sign: Sign = Sign()
    vars: dict[str, str | int | float | bool] = Field(default_factory=dict, description="Values for `${{ vars.x }}`.")

    @model_validator(mode="after")
    def _one_source(self) -> Recipe:
        return self
