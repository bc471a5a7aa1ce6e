"""The recipe document: what a person writes. Frozen, strict, every field described (the schema is made from it).

Rule: nothing here reads a file or knows a target; what a value means together with others is checked by the plan.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from edgec.documents.shape import InWords
from edgec.documents.typed import mistake, together
from edgec.recipe.document import Document, RelativePath, Slug, Version
from edgec.recipe.engine import EdgeLlmArtifact, TrtLlmArtifact
from edgec.recipe.inputs import SourceInput
from edgec.recipe.onnx import OnnxArtifact
from edgec.recipe.package import Package
from edgec.recipe.rkllm import RkllmArtifact
from edgec.recipe.rknn import RknnArtifact

HubName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$"),
    InWords("`owner/name` as on the hub's page"),
]
# The pattern is for editors: `Source` says in words what is wrong with another revision.
Revision = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{40}$"})]

Scheme = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_0", "q4_k_m", "q4_k_s", "q4_0", "q4_1",
    "iq4_xs", "iq4_nl", "q3_k_m", "q2_k",
]  # fmt: skip
# A single tensor's type, for overrides.
TensorType = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_0", "q5_1", "q4_k", "q4_0", "q4_1", "iq4_xs", "iq4_nl", "q3_k",
    "q2_k",
]  # fmt: skip

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TENSOR_GLOB = re.compile(r"(?:[A-Za-z0-9_.*?-]|\[!?[A-Za-z0-9_-]+\])+")


def _glob(text: str) -> str:
    """A glob over tensor names; a person who writes a regular expression would match nothing without a word."""
    if not _TENSOR_GLOB.fullmatch(text):
        hint = "it is a glob, not a regular expression: `*` any text, `?` one character, `[0-3]` one of these"
        raise mistake("the pattern is not a glob over tensor names", f"{hint}; for example `blk.*.ffn_down.weight`")
    return text


TensorGlob = Annotated[str, AfterValidator(_glob)]


def _not_both(first: str, second: str) -> JsonDict:
    """For editors: only one of the two texts. `null` is none: it takes away what an extended file gives."""
    text: JsonDict = {"type": "string"}
    return {"not": {"properties": {first: text, second: text}, "required": [first, second]}}


class Source(Document):
    """Where the model comes from: a local folder or .onnx file (`path`), or a commit on the hub (`hub`, `revision`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["path"]}, {"required": ["hub", "revision"]}],
            "allOf": [_not_both("path", "hub"), _not_both("path", "revision")],
        }
    )

    path: RelativePath | None = Field(
        None,
        description="A folder with config.json, tokenizer.json and *.safetensors, or an .onnx file; relative to the "
        "recipe.",
        examples=["../models/my-model"],
    )
    hub: HubName | None = Field(
        None, description="A Hugging Face repository, `owner/name`.", examples=["Qwen/Qwen2.5-0.5B-Instruct"]
    )
    revision: Revision | None = Field(
        None,
        description="The 40-digit commit of the hub repository; branches and tags move and are refused. "
        "`git ls-remote https://huggingface.co/<owner>/<name> HEAD` shows it.",
    )
    licence: str | None = Field(
        None,
        description="The model's licence, as an SPDX identifier or a name; recorded in the bundle.",
        examples=["apache-2.0"],
    )
    architecture: str | None = Field(
        None,
        description="Override: treat the model as this class of config.json's `architectures`.",
        examples=["LlamaForCausalLM"],
    )
    inputs: dict[str, SourceInput] = Field(
        default_factory=dict, description="Of an .onnx file: its inputs by name, as far as the file leaves them open."
    )

    @model_validator(mode="after")
    def _one_place_and_pinned(self) -> Source:
        if self.path is None and self.hub is None:
            raise mistake("the source has neither `path` nor `hub`", "give `path:` a folder, or `hub:` a repository")
        if self.path is not None and self.hub is not None:
            both = mistake("the source has both `path` and `hub`", "keep one of them", at="hub", rival="path")
            moves = self.revision is not None and not _COMMIT.fullmatch(self.revision)
            raise together(both, _moving(self.hub, self.revision)) if moves else both
        if self.path is not None and self.revision is not None:
            raise mistake("a local `path` has no `revision`", "remove `revision`, or use `hub`", at="revision")
        if self.hub is not None and (self.revision is None or not _COMMIT.fullmatch(self.revision)):
            raise _moving(self.hub, self.revision)
        return self


def _moving(hub: str, revision: str | None) -> PydanticCustomError:
    """Without a commit, the same recipe would mean another model tomorrow."""
    is_name = (
        revision is not None
        and re.fullmatch(r"[\w./-]{1,80}", revision)
        and not re.fullmatch(r"[0-9a-fA-F]+", revision)
    )
    ref = revision if is_name else "HEAD"
    hint = f"pin a commit of 40 hexadecimal digits; `git ls-remote https://huggingface.co/{hub} {ref}` shows it"
    if revision is None:
        return mistake("the hub repository has no `revision`", hint, at="hub")
    what = "a branch or a tag, which can move" if is_name else "not a full commit"
    return mistake(f"the `revision` is {what}", hint, at="revision")


class Imatrix(Document):
    """An importance matrix: computed from a calibration text, or read from a file."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["calibration"]}, {"required": ["file"]}],
            "allOf": [_not_both("calibration", "file")],
        }
    )

    calibration: RelativePath | None = Field(
        None, description="A UTF-8 text, relative to the recipe.", examples=["calibration.txt"]
    )
    max_tokens: int = Field(32768, ge=256, description="Tokens of the calibration text to run, from its start.")
    file: RelativePath | None = Field(
        None, description="A ready imatrix (`general.type=imatrix` GGUF), relative to the recipe."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Imatrix:
        if self.calibration is None and self.file is None:
            hint = "give `calibration:` a text, or `file:` a ready matrix"
            raise mistake("the imatrix has neither `calibration` nor `file`", hint)
        if self.calibration is not None and self.file is not None:
            raise mistake(
                "the imatrix has both `calibration` and `file`", "keep one of them", at="file", rival="calibration"
            )
        return self


class TensorOverride(Document):
    """One tensor type for the tensors whose GGUF name matches a pattern; the last match wins."""

    tensors: TensorGlob = Field(
        description="A glob over GGUF tensor names.", examples=["blk.*.ffn_down.weight", "token_embd.weight"]
    )
    type: TensorType = Field(description="The type that these tensors get.", examples=["q8_0"])


class GgufQuantize(Document):
    """How the weights of a GGUF are quantized."""

    scheme: Scheme = Field("q4_k_m", description="llama.cpp's name of the mix, in lower case.")
    imatrix: Imatrix | None = Field(None, description="Weighs the columns of each matrix by how much they are used.")
    overrides: tuple[TensorOverride, ...] = Field((), description="Types for single tensors; the last match wins.")

    @model_validator(mode="after")
    def _imatrix_is_used(self) -> GgufQuantize:
        if self.imatrix is not None and self.scheme in ("f32", "f16", "bf16") and not self.overrides:
            hint = "remove `imatrix`, or choose a scheme that quantizes"
            raise mistake(f"`{self.scheme}` does not quantize, so an imatrix has no use", hint, at="imatrix")
        return self


class GgufTokenizer(Document):
    """What cannot be read off the tokenizer's files with certainty."""

    pre: str | None = Field(
        None, description="Override: llama.cpp's name of the pre-tokenizer.", examples=["qwen2", "llama-bpe"]
    )
    chat_template: RelativePath | None = Field(
        None, description="A jinja file that replaces the model's chat template, relative to the recipe."
    )


class GgufArtifact(Document):
    """A GGUF for llama.cpp."""

    format: Literal["gguf"] = Field(description="The kind of file to make.", examples=["gguf"])
    quantize: GgufQuantize = Field(GgufQuantize(), description="How the weights are quantized.")
    tokenizer: GgufTokenizer = Field(GgufTokenizer(), description="Overrides for the tokenizer.")
    shard_size_mib: int | None = Field(
        None, ge=1, description="Split the file so that no shard is larger (browsers: 512)."
    )


Artifact = Annotated[
    GgufArtifact | OnnxArtifact | RknnArtifact | RkllmArtifact | EdgeLlmArtifact | TrtLlmArtifact,
    Field(discriminator="format"),
]


class Prove(Document):
    """What the proof compares and what it demands. Thresholds left out have defaults per scheme."""

    held_out: RelativePath | None = Field(
        None,
        description="A UTF-8 text the model was not calibrated on, relative to the recipe. Default: a built-in one.",
        examples=["held_out.txt"],
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
    max_score_error: float | None = Field(
        None, gt=0, description="Rerankers: largest allowed error of the scores, as a share of their spread."
    )
    emulate: bool = Field(
        False,
        description="Also run the artifact on an emulated processor of the target (64-bit ARM, in qemu) and compare.",
    )


class Sign(Document):
    """The key that signs the bundle. Left out: `EDGEC_SIGNING_KEY`, else the user's key, else a development key."""

    key: RelativePath | None = Field(None, description="A PEM file with an EC private key, relative to the recipe.")


class Recipe(Document):
    """One model for one target."""

    schema_: Literal["edgec/recipe/v1"] = Field(
        alias="schema", description="The kind and version of this document.", examples=["edgec/recipe/v1"]
    )
    name: Slug = Field(description="The bundle's name.", examples=["my-model"])
    version: Version = Field(description="The bundle's version.", examples=["1.0.0"])
    description: str | None = Field(None, description="One line for people, recorded in the bundle.")
    target: str = Field(
        description="A target profile: a name from `edgec targets`, or a path to a YAML file.",
        examples=["pi5-8gb"],
    )
    source: Source = Field(description="Where the checkpoint comes from: `path`, or `hub` with `revision`.")
    context: int | None = Field(
        None,
        ge=1,
        description="Tokens of context the device must hold: sizes the KV cache. Default: 4096, or the model's own "
        "context where that is less.",
    )
    batch: int = Field(1, ge=1, description="Sequences decoded at once on the device.")
    artifacts: tuple[Artifact, ...] = Field(
        min_length=1, description="The files to make; at least one. Triton and Dify serve the first."
    )
    prove: Prove = Field(Prove(), description="What the proof compares and what it demands.")
    package: Package = Field(
        Package(), description="What the bundle carries for those who serve the model: its first artifact."
    )
    sign: Sign = Field(Sign(), description="The key that signs the bundle.")
    vars: dict[str, str | int | float | bool] = Field(default_factory=dict, description="Values for `${{ vars.x }}`.")
