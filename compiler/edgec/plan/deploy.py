"""What the bundle will carry for its servers: the emitters of the recipe's `package:`, run on the plan's facts.

Rule: emitters are named in one place, here; what one of them refuses stands at its line in the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgec.deploy.dify import emit as dify
from edgec.deploy.model import Device, Emitted, Mistake, ServedModel
from edgec.deploy.triton import emit as triton
from edgec.deploy.triton.engine_repository import ENGINES, EngineFacts, refuse_engine, trtllm_repository
from edgec.deploy.web import emit as web
from edgec.documents.canonical import sha256_json
from edgec.errors import Diagnostic, InputError
from edgec.formats.onnx.encoder import is_bert_tokenizer
from edgec.plan.artifact import PlannedArtifact
from edgec.plan.deploy_check import TRITON_FORMATS
from edgec.plan.engine_model import EnginePlan
from edgec.plan.keys import model_key
from edgec.prove.chat_template import special_token_texts
from edgec.prove.decoder_pair.reference import end_tokens
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.package import TritonPackage
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target

_NO_SERVERS = ("wasm32",)


def plan_deployment(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifacts: Sequence[PlannedArtifact]
) -> dict[str, Emitted]:
    """What each emitter makes of the recipe's first artifact, by the emitter's name. Raises InputError."""
    package = loaded.recipe.package
    if header.graph is not None:
        return _nothing(loaded)
    model = served_model(loaded, target, header, artifacts[0])
    mistakes: list[Mistake] = []
    emitted: dict[str, Emitted] = {}
    wants_triton = (
        package.triton is not None and model.device.arch not in _NO_SERVERS and model.format in TRITON_FORMATS
    )
    if wants_triton and package.triton is not None:
        mistakes += triton.refuse(package.triton, model)
        if isinstance(artifacts[0], EnginePlan):
            mistakes += refuse_engine(package.triton, model)
    if package.dify is not None:
        mistakes += dify.refuse(package.dify, model, loaded.resolve)
    # A site nobody asked for is just left out where there cannot be one.
    wants_web = package.web is not None and ("web" in package.model_fields_set or web.can_have(model))
    if wants_web and package.web is not None:
        mistakes += web.refuse(package.web, model)
    if mistakes:
        raise InputError(*(Diagnostic(m.message, m.hint, loaded.marked.place(*m.at).span) for m in mistakes))
    if wants_triton and package.triton is not None:
        emitted["triton"] = _triton(package.triton, model, header, artifacts[0])
    if package.dify is not None:
        emitted["dify"] = dify.emit(package.dify, model, loaded.resolve)
    if wants_web and package.web is not None:
        emitted["web"] = web.emit(package.web, model, weights_bytes=artifacts[0].summary.output_bytes)
    if len(artifacts) > 1:
        # Which one is not seen from the names of models.
        return {name: replace(made, title=f"{made.title}, from {artifacts[0].name}") for name, made in emitted.items()}
    return emitted


def _nothing(loaded: LoadedRecipe) -> dict[str, Emitted]:
    """What a user's own graph is served with. Raises InputError for a site that was asked for."""
    if "web" in loaded.recipe.package.model_fields_set and loaded.recipe.package.web is not None:
        message = "no web site knows what a graph of your own takes and gives"
        span = loaded.marked.place("package", "web").span
        raise InputError(
            Diagnostic(message, "remove `web`: the bundle has the .onnx file for a page of your own", span)
        )
    return {}


def _triton(
    settings: TritonPackage, model: ServedModel, header: CheckpointHeader, artifact: PlannedArtifact
) -> Emitted:
    if not isinstance(artifact, EnginePlan):
        return triton.emit(settings, model)
    limits = artifact.limits
    ends = end_tokens(header.config, header.files)
    engine = EngineFacts(
        version=artifact.backend.version,
        path=f"{ENGINES}/{model.name}/{artifact.name}/current/engine",
        max_batch_size=limits.batch,
        max_input_len=limits.input_tokens,
        max_seq_len=limits.context,
        kv_cache_tokens=limits.kv_cache_tokens or limits.batch * limits.context,
        end_id=ends[0] if ends else -1,
        pad_id=ends[0] if ends else 0,
    )
    return trtllm_repository(settings, model, engine, tokenizer=header.files["tokenizer.json"])


def served_model(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: PlannedArtifact
) -> ServedModel:
    """The facts about `artifact` that a deployment rests on."""
    recipe, facts, fit = loaded.recipe, artifact.facts, artifact.summary.fit
    if facts.kind == "graph":
        raise ValueError("nothing serves a graph")
    return ServedModel(
        name=recipe.name,
        version=recipe.version,
        title=facts.title or recipe.name,
        description=recipe.description,
        licence=header.identity.licence,
        kind=facts.kind,
        format=artifact.format,
        scheme=artifact.scheme,
        # Not of names, versions or tools: vectors that are kept stay good when only those change.
        weights=sha256_json({"source": model_key(header.identity), **artifact.numbers}),
        files=tuple(f"{artifact.format}/{file}" for file in artifact.summary.files),
        architecture=facts.architecture,
        parameters=header.parameters,
        context=artifact.summary.context,
        batch=recipe.batch,
        embedding_length=facts.embedding_length,
        pooling=facts.pooling,
        chat_template=facts.chat_template,
        special_texts=special_token_texts(header.files),
        bert_tokenizer=is_bert_tokenizer(header.files),
        device=Device(
            name=target.name,
            title=target.title,
            arch=target.isa.arch,
            threads=target.cpu.threads,
            available_mib=fit.available_mib,
            needed_mib=fit.needed_mib,
        ),
    )
