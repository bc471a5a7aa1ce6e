"""What an ONNX decoder will be, from the checkpoint's header: its files, a bound of their size, its fit and its speed.

Rule: what the builder, the proof or the target's runtime would get wrong is refused here, with the way that works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.documents.wording import listed
from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.vocabulary.files import read_files
from edgec.formats.gguf.vocabulary.template import chat_template
from edgec.formats.onnx.decoder_files import CHUNK_TOKENS
from edgec.formats.onnx.decoder_layout import SCHEMES, DecoderLayout, plan_decoder_layout
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan, Speed
from edgec.plan.model_shape import decoder_shape, longest_context
from edgec.plan.placed import placed_at
from edgec.plan.speed import kv_read_per_token, predict_speed, weights_read_per_token
from edgec.plan.template_check import require_working_template
from edgec.quantize.architecture import Decoder, plan_decoder
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import refuse_quantized
from edgec.target.model import Runtime, Target

# Tokens of context when the recipe does not say.
_DEFAULT_CONTEXT = 4096
_GGUF = "use `format: gguf`"
_BROWSER = "wasm32"
_FOREIGN = ("min_cosine", "max_score_error")


@dataclass(frozen=True)
class OnnxDecoderPlan(PlannedArtifact):
    """A folder for onnxruntime-genai to be, or a graph of standard operators. `positions`: of config.json."""

    settings: OnnxArtifact
    decoder: Decoder
    layout: DecoderLayout
    template: str | None
    architecture: str

    @property
    def source_bytes(self) -> int:
        """Bytes of the weights in 16 bits."""
        return self.decoder.parameters * 2

    @property
    def facts(self) -> ModelFacts:
        """What config.json says of the model."""
        return ModelFacts(
            title="",
            architecture=self.architecture,
            kind="decoder",
            trained_context=self.decoder.context,
            embedding_length=self.decoder.width,
            vocabulary=self.decoder.vocabulary,
            pooling=None,
            chat_template=self.template,
        )


def is_decoder(config: Mapping[str, Any]) -> bool:
    """Whether the checkpoint writes text, whatever is known of its class."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else names
    return isinstance(name, str) and name.endswith(("ForCausalLM", "LMHeadModel"))


def plan_onnx_decoder(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: OnnxArtifact, index: int
) -> OnnxDecoderPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be built, proven or run."""
    _refuse_settings(loaded, artifact, index)
    name, runtime = _runtime(loaded, target, artifact, index)
    with placed_at(loaded, index):
        refuse_quantized(header.config, header.quantization)
        decoder = plan_decoder(header)
        if "tokenizer.json" not in header.files:
            hint = f"save one beside config.json (transformers: save_pretrained), or {_GGUF}"
            raise InputError.of("onnxruntime-genai reads a tokenizer.json, and the model has none", hint=hint)
        if decoder.rope.kind == "linear" and artifact.graph == "genai":
            # It builds a graph that ignores the factor, without a word: a mean KL divergence of 0.22 on a small model.
            hint = f"set `graph: standard` with `scheme: fp32`, or {_GGUF}"
            raise InputError.of("onnxruntime-genai's builder ignores rotary scaling of the type `linear`", hint=hint)
        context = _context(loaded, longest_context(header.config, decoder))
        quantize = artifact.quantize
        layout = plan_decoder_layout(
            decoder, quantize.scheme, artifact.graph, header.files,
            positions=int(header.config["max_position_embeddings"]), block_size=quantize.block_size,
            algorithm=quantize.algorithm,
        )  # fmt: skip
        template = _template(header)
    return OnnxDecoderPlan(
        name=artifact_name(artifact),
        summary=_summary(loaded, target, name, runtime, decoder=decoder, layout=layout, context=context),
        numbers=artifact.model_dump(mode="json"),
        settings=artifact,
        decoder=decoder,
        layout=layout,
        template=template,
        architecture=str(header.config["architectures"][0]),
    )


def _refuse_settings(loaded: LoadedRecipe, artifact: OnnxArtifact, index: int) -> None:
    """Raises InputError, at their lines, for what decoders do not take."""
    base = ("artifacts", index)
    scheme, quantize, served = artifact.quantize.scheme, artifact.quantize, SCHEMES[artifact.graph]
    found: list[Diagnostic] = []
    if scheme not in served:
        what = "decoders as `onnx` have" if artifact.graph == "genai" else "`graph: standard` has"
        at = "scheme" if "scheme" in quantize.model_fields_set else "quantize"
        span = loaded.span(*base, "quantize", at) or loaded.span(*base, "quantize")
        hint = f"choose one of {listed(served)}, or {_GGUF}"
        found.append(Diagnostic(f"{what} no scheme `{scheme}`", hint, span))
    unused = {
        "block_size": scheme not in ("int4", "int8"),
        "algorithm": scheme != "int4" and quantize.algorithm != "default",
    }
    found += [
        Diagnostic(f"`{name}` has no use with `{scheme}`", "remove it", loaded.span(*base, "quantize", name))
        for name, is_unused in unused.items()
        if is_unused and name in quantize.model_fields_set
    ]
    found += [
        Diagnostic(
            f"`prove.{name}` means nothing for this model: it writes text",
            "remove it; the proof of a decoder takes `max_kl`, `min_top1` and `max_perplexity_ratio`",
            loaded.span("prove", name),
        )
        for name in _FOREIGN
        if getattr(loaded.recipe.prove, name) is not None
    ]
    if found:
        raise InputError(*found)


def _runtime(loaded: LoadedRecipe, target: Target, artifact: OnnxArtifact, index: int) -> tuple[str, Runtime]:
    """The target's runtime for decoders. Raises InputError, with the format that works, where it has none."""
    scheme = artifact.quantize.scheme
    runtimes = [(n, r) for n, r in target.runtimes.items() if "onnx" in r.formats and "decoder" in r.kinds]
    found = next((pair for pair in runtimes if scheme in pair[1].schemes), None)
    if found is not None:
        return found
    span = loaded.span("artifacts", index, "format")
    if target.isa.arch == _BROWSER:
        message = (
            "in a browser onnxruntime-web decodes on the CPU at seconds a token: 2 to 4 s of CPU were measured for a "
            "model of 0.5 billion parameters in 4 bits, 35 ms natively"
        )
        raise InputError(Diagnostic(message, f"{_GGUF}: wllama (llama.cpp in WebAssembly) runs it", span))
    message = f"`{target.name}` has no runtime for decoders as `onnx` in `{scheme}`"
    raise InputError(Diagnostic(message, f"{_GGUF}, or add one with `kinds: [decoder]` to the profile", span))


def _context(loaded: LoadedRecipe, longest: int) -> int:
    context = loaded.recipe.context or min(_DEFAULT_CONTEXT, longest)
    if context > longest:
        message = f"a context of {context} tokens is more than the model's {longest}"
        raise InputError(Diagnostic(message, f"set context to {longest} or less", loaded.span("context")))
    return context


def _template(header: CheckpointHeader) -> str | None:
    """The chat template that the runtime finds beside the model; it must work. Raises InputError."""
    template, place, _ = chat_template(read_files(header.files, dict(header.config)), None)
    if template is not None:
        require_working_template(template, header.files, place)
    return template


def _summary(
    loaded: LoadedRecipe,
    target: Target,
    runtime_name: str,
    runtime: Runtime,
    *,
    decoder: Decoder,
    layout: DecoderLayout,
    context: int,
) -> ArtifactPlan:
    # The graph fixes the types of keys and values, not the profile.
    runtime = runtime.model_copy(update={"kv_bytes": layout.kv_bytes, "n_ubatch": CHUNK_TOKENS})
    fit = predict_fit(
        target,
        runtime,
        shape=decoder_shape(decoder),
        weights_bytes=layout.weights_bytes,
        bytes_by_type=layout.bytes_by_type,
        largest_tensor_bytes=decoder.vocabulary * decoder.width * 4,
        context=context,
        batch=loaded.recipe.batch,
        largest_file_bytes=layout.data_bytes,
    )
    # Of other runtimes than the profile's nothing is known.
    speed = _speed(target, runtime_name, runtime, decoder, layout=layout, context=context)
    speeds = (speed,) if layout.kind == "genai" else ()
    return ArtifactPlan(
        name=f"onnx-{layout.scheme}",
        format="onnx",
        scheme=layout.scheme,
        context=context,
        output_bytes=layout.size_bytes,
        files=tuple(f"{layout.folder}/{name}" for name in layout.files),
        bytes_by_type=dict(layout.bytes_by_type),
        fit=fit,
        speeds=speeds,
        notes=_notes(layout, context),
        is_exact=False,
    )


def _speed(
    target: Target, runtime_name: str, runtime: Runtime, decoder: Decoder, *, layout: DecoderLayout, context: int
) -> Speed:
    read = weights_read_per_token(
        weights_bytes=layout.weights_bytes, token_embedding_bytes=layout.embedding_bytes, tied=layout.tied
    )
    kv = kv_read_per_token(decoder_shape(decoder), context=context, kv_bytes=runtime.kv_bytes)
    return predict_speed(
        target, runtime_name, bytes_per_token=read, kv_bytes_per_token_at_context=kv, scheme=layout.scheme
    )


def _notes(layout: DecoderLayout, context: int) -> tuple[str, ...]:
    if layout.kind == "standard":
        return (
            "standard operators alone: for runtimes other than onnxruntime-genai, which keep the KV cache themselves",
        )
    return (
        f"the folder onnx/{layout.folder} is what onnxruntime-genai loads; its genai_config.json allocates "
        f"{context} tokens of KV cache",
    )
