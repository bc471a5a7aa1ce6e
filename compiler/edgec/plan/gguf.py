"""What a GGUF artifact will be, from the checkpoint's header alone: its layout to the byte, its fit and its speed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgec.documents.canonical import sha256_bytes
from edgec.documents.wording import listed
from edgec.errors import Diagnostic, InputError, Span
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.formats.gguf.model import MappedModel, Vocabulary
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.formats.gguf.vocabulary.names import missing_for_name
from edgec.formats.wordpiece import require_one_vocabulary
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan, Speed
from edgec.plan.npu_beside import npu_beside
from edgec.plan.own_thresholds import refuse_foreign_thresholds
from edgec.plan.speed import kv_read_per_token, predict_speed, weights_read_per_token
from edgec.plan.template_check import require_working_template
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.model import GgufArtifact, Imatrix
from edgec.source.model import CheckpointHeader
from edgec.source.text import read_text
from edgec.target.model import Runtime, Target

# Tokens of context when the recipe does not say; enough for a chat, small enough for 4 GB devices.
_DEFAULT_CONTEXT = 4096
# Where mistakes that name a field of the recipe stand.
_PLACES: Mapping[str | None, tuple[str | int, ...]] = {
    "source.architecture": ("source", "architecture"),
    "tokenizer.pre": ("tokenizer", "pre"),
}
# llama.cpp's numbers of pooling types; an encoder without one is served with the mean.
_POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
_TOKEN_EMBEDDING = "token_embd.weight"  # noqa: S105 (a tensor's name)


@dataclass(frozen=True)
class GgufPlan(PlannedArtifact):
    """One GGUF to be: how the model maps, where every byte will lie, and what is predicted of it on the target.

    `layout` is the artifact's, `reference` that of the unquantized GGUF its quality is compared with.
    """

    settings: GgufArtifact
    mapped: MappedModel
    vocabulary: Vocabulary
    layout: GgufLayout
    reference: GgufLayout

    @property
    def source_bytes(self) -> int:
        """Bytes of the unquantized GGUF."""
        return self.reference.size_bytes

    @property
    def facts(self) -> ModelFacts:
        """What llama.cpp knows of the model."""
        metadata = {entry.key: entry.value for entry in self.mapped.metadata}
        pooling = metadata.get(f"{self.mapped.arch}.pooling_type", 1)
        return ModelFacts(
            title=str(metadata.get("general.name", "")),
            architecture=self.mapped.arch,
            kind=self.mapped.kind,
            trained_context=self.mapped.shape.context_length,
            embedding_length=self.mapped.shape.n_embd,
            vocabulary=self.vocabulary.n_tokens,
            pooling=None if self.mapped.kind == "decoder" else _POOLING[int(pooling)],  # type: ignore[arg-type]
            chat_template=self.vocabulary.chat_template,
        )

    @property
    def reference_action(self) -> str:
        """Name of the action that makes the reference; artifacts with the same reference share it."""
        return f"reference-{self.reference.digest[7:13]}"


def plan_gguf(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: GgufArtifact, index: int
) -> GgufPlan:
    """Plans the GGUF that is the recipe's artifact number `index`.

    Raises InputError when the architecture, the tokenizer or a tensor is not supported.
    """
    with _placed(loaded, artifact, index):
        mapped, vocabulary = _model(loaded, header, artifact)
        layout = plan_layout(
            mapped,
            vocabulary,
            header.tensors,
            scheme=artifact.quantize.scheme,
            has_imatrix=artifact.quantize.imatrix is not None,
            overrides=[(o.tensors, o.type) for o in artifact.quantize.overrides],
            shard_size_bytes=artifact.shard_size_mib * 2**20 if artifact.shard_size_mib else None,
            name=f"{loaded.recipe.name}-{artifact.quantize.scheme}",
        )
    reference = plan_layout(mapped, vocabulary, header.tensors, scheme="source", name="reference")
    made = _summary(loaded, target, artifact, mapped, layout)
    beside = npu_beside(target, mapped, layout, made.context, made.speeds)
    summary = replace(made, name=artifact_name(artifact), notes=(*mapped.notes, *vocabulary.notes, *beside))
    return GgufPlan(
        name=summary.name,
        summary=summary,
        numbers=_numbers(loaded, artifact),
        settings=artifact,
        mapped=mapped,
        vocabulary=vocabulary,
        layout=layout,
        reference=reference,
    )


def _numbers(loaded: LoadedRecipe, artifact: GgufArtifact) -> dict[str, Any]:
    quantize = artifact.quantize
    return {
        "architecture": loaded.recipe.source.architecture,
        "pre_tokenizer": artifact.tokenizer.pre,
        "scheme": quantize.scheme,
        "overrides": [[o.tensors, o.type] for o in quantize.overrides],
        "imatrix": None if quantize.imatrix is None else _imatrix(loaded, quantize.imatrix),
    }


def _imatrix(loaded: LoadedRecipe, imatrix: Imatrix) -> dict[str, Any]:
    """An importance matrix by the content that it is made of."""
    if imatrix.calibration is None:
        return {"file": sha256_bytes(loaded.resolve(imatrix.file or "").read_bytes())}
    text = read_text(loaded.resolve(imatrix.calibration), "calibration text")
    return {"calibration": sha256_bytes(text.encode()), "max_tokens": imatrix.max_tokens}


def _model(loaded: LoadedRecipe, header: CheckpointHeader, artifact: GgufArtifact) -> tuple[MappedModel, Vocabulary]:
    """The checkpoint as llama.cpp will know it, with what the recipe says about it checked."""
    recipe = loaded.recipe
    tokenizer = artifact.tokenizer
    mapped = map_model(header, name=recipe.name, architecture=recipe.source.architecture)
    refuse_foreign_thresholds(loaded, mapped.kind, mapped.arch)
    require_one_vocabulary(header.files)
    own = tokenizer.chat_template
    vocabulary = map_vocabulary(
        header,
        n_vocab=mapped.shape.n_vocab,
        arch=mapped.arch,
        pre=tokenizer.pre,
        chat_template=None if own is None else read_text(loaded.resolve(own), "chat template"),
        reranks=mapped.kind == "reranker",
    )
    _refuse_name(loaded, vocabulary)
    if mapped.kind == "decoder":
        _try_template(loaded, header, artifact, vocabulary)
    return mapped, vocabulary


def _refuse_name(loaded: LoadedRecipe, vocabulary: Vocabulary) -> None:
    name = loaded.recipe.name
    missing = missing_for_name(name, vocabulary)
    if missing:
        raise InputError(
            Diagnostic(
                message=f"llama.cpp takes every model with `phi3` or `phi-3` in its name for Microsoft's Phi-3, and "
                f"cannot load this one: its vocabulary has no {listed(missing)}",
                hint="choose a `name` without it, for example with `phi` alone",
                span=loaded.span("name"),
            )
        )


def _try_template(
    loaded: LoadedRecipe, header: CheckpointHeader, artifact: GgufArtifact, vocabulary: Vocabulary
) -> None:
    own = artifact.tokenizer.chat_template
    place = vocabulary.chat_template_file if own is None else str(loaded.resolve(own))
    if vocabulary.chat_template is not None:
        require_working_template(vocabulary.chat_template, header.files, place)


@contextlib.contextmanager
def _placed(loaded: LoadedRecipe, artifact: GgufArtifact, index: int) -> Iterator[None]:
    """Gives mistakes of the layout that have no place the line of the recipe that asked for it."""
    try:
        yield
    except InputError as error:
        raise InputError(*(_at_line(d, loaded, artifact, index) for d in error.diagnostics)) from error


def _at_line(mistake: Diagnostic, loaded: LoadedRecipe, artifact: GgufArtifact, index: int) -> Diagnostic:
    if mistake.span is None and mistake.place in _PLACES:
        return replace(mistake, place=None, span=_line(loaded, index, _PLACES[mistake.place]))
    if mistake.span is not None or mistake.place is not None:
        return mistake
    where: tuple[str | int, ...] = ("shard_size_mib",) if "shard" in mistake.message else ()
    for number, override in enumerate(artifact.quantize.overrides):
        if override.tensors in mistake.message:
            where = ("quantize", "overrides", number, "tensors")
    return replace(mistake, span=_line(loaded, index, ("artifacts", index, *where)))


def _line(loaded: LoadedRecipe, index: int, where: tuple[str | int, ...]) -> Span | None:
    path = ("artifacts", index, *where) if where[0] == "tokenizer" else where
    return loaded.span(*path) or loaded.span("artifacts", index)


def serving_runtimes(target: Target, artifact: GgufArtifact) -> dict[str, Runtime]:
    """The target's runtimes that serve this format and scheme, in the profile's order."""
    scheme = artifact.quantize.scheme
    return {n: r for n, r in target.runtimes.items() if artifact.format in r.formats and scheme in r.schemes}


def _summary(
    loaded: LoadedRecipe, target: Target, artifact: GgufArtifact, mapped: MappedModel, layout: GgufLayout
) -> ArtifactPlan:
    context = _context(loaded, mapped)
    runtimes = serving_runtimes(target, artifact)
    fit = predict_fit(
        target,
        next(iter(runtimes.values())),
        shape=mapped.shape,
        weights_bytes=layout.size_bytes,
        bytes_by_type=layout.bytes_by_type,
        largest_tensor_bytes=max(t.nbytes for t in layout.tensors),
        context=context,
        batch=loaded.recipe.batch,
        largest_file_bytes=max(f.size_bytes for f in layout.files),
        kv_cache=mapped.kind == "decoder",
    )
    return ArtifactPlan(
        name=artifact.format,
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=context,
        output_bytes=layout.size_bytes,
        files=tuple(f.name for f in layout.files),
        bytes_by_type=layout.bytes_by_type,
        fit=fit,
        # Encoders do not decode; their speed is not predicted.
        speeds=_speeds(target, artifact, mapped, layout, context) if mapped.kind == "decoder" else (),
        notes=mapped.notes,
    )


def _context(loaded: LoadedRecipe, mapped: MappedModel) -> int:
    """The context to plan for. Raises InputError when the recipe asks for more than llama.cpp computes right."""
    asked = loaded.recipe.context
    most = mapped.shape.context_length
    if asked is None:
        return min(_DEFAULT_CONTEXT, most)
    if asked > most:
        why = "".join(f" ({note})" for note in mapped.notes if "context" in note)
        raise InputError(
            Diagnostic(
                message=f"a context of {asked} tokens is more than the model's {most}{why}",
                hint=f"set context to {most} or less",
                span=loaded.span("context"),
            )
        )
    return asked


def _speeds(
    target: Target, artifact: GgufArtifact, mapped: MappedModel, layout: GgufLayout, context: int
) -> tuple[Speed, ...]:
    embedding = next(t for t in layout.tensors if t.name == _TOKEN_EMBEDDING)
    weights = weights_read_per_token(
        weights_bytes=sum(t.nbytes for t in layout.tensors),
        token_embedding_bytes=embedding.nbytes,
        tied=all(t.name != "output.weight" for t in layout.tensors),
    )
    return tuple(
        predict_speed(
            target,
            runtime_name,
            bytes_per_token=weights,
            kv_bytes_per_token_at_context=kv_read_per_token(mapped.shape, context=context, kv_bytes=runtime.kv_bytes),
            scheme=artifact.quantize.scheme,
            arch=mapped.arch,
        )
        for runtime_name, runtime in serving_runtimes(target, artifact).items()
    )
