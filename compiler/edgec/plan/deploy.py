"""What the bundle will carry for its servers: the emitters of the recipe's `package:`, run on the plan's facts.

Rule: emitters are named in one place, here; what one of them refuses stands at its line in the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from edgec.deploy.dify import emit as dify
from edgec.deploy.model import Device, Emitted, Mistake, ServedModel
from edgec.deploy.triton import emit as triton
from edgec.documents.canonical import sha256_bytes, sha256_json
from edgec.errors import Diagnostic, InputError
from edgec.plan.gguf import GgufPlan
from edgec.plan.keys import model_key
from edgec.prove.generate import special_token_texts
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.model import Imatrix
from edgec.source.model import CheckpointHeader
from edgec.source.text import read_text
from edgec.target.model import Target

# llama.cpp's numbers of pooling types; an encoder without one is served with the mean.
_POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
_NO_SERVERS = ("wasm32",)


def deployment_mistakes(loaded: LoadedRecipe) -> Iterator[Mistake]:
    """What is wrong with `package:` as far as the documents show."""
    package = loaded.recipe.package
    if package.triton is not None:
        yield from triton.check(package.triton, loaded.recipe)
    if package.dify is not None:
        yield from dify.check(package.dify, loaded.recipe, loaded.resolve)


def plan_deployment(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifacts: tuple[GgufPlan, ...]
) -> dict[str, Emitted]:
    """What each emitter makes of the recipe's first artifact, by the emitter's name. Raises InputError."""
    package = loaded.recipe.package
    model = served_model(loaded, target, header, artifacts[0])
    mistakes: list[Mistake] = []
    emitted: dict[str, Emitted] = {}
    if package.triton is not None and model.device.arch not in _NO_SERVERS:
        mistakes += triton.refuse(package.triton, model)
    if package.dify is not None:
        mistakes += dify.refuse(package.dify, model, loaded.resolve)
    if mistakes:
        raise InputError(*(Diagnostic(m.message, m.hint, loaded.marked.place(*m.at).span) for m in mistakes))
    if package.triton is not None and model.device.arch not in _NO_SERVERS:
        emitted["triton"] = triton.emit(package.triton, model)
    if package.dify is not None:
        emitted["dify"] = dify.emit(package.dify, model, loaded.resolve)
    if len(artifacts) > 1:
        # Which one is not seen from the names of models.
        return {name: replace(made, title=f"{made.title}, from {artifacts[0].name}") for name, made in emitted.items()}
    return emitted


def served_model(loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: GgufPlan) -> ServedModel:
    """The facts about `artifact` that a deployment rests on."""
    recipe = loaded.recipe
    metadata = {entry.key: entry.value for entry in artifact.mapped.metadata}
    pooling = metadata.get(f"{artifact.mapped.arch}.pooling_type", 1)
    fit = artifact.summary.fit
    return ServedModel(
        name=recipe.name,
        version=recipe.version,
        title=str(metadata.get("general.name", recipe.name)),
        description=recipe.description,
        licence=header.identity.licence,
        kind=artifact.mapped.kind,
        format=artifact.settings.format,
        scheme=artifact.scheme,
        weights=_weights(loaded, header, artifact),
        files=tuple(f"{artifact.settings.format}/{file}" for file in artifact.summary.files),
        architecture=artifact.mapped.arch,
        parameters=sum(t.elements for t in header.tensors.values()),
        context=artifact.summary.context,
        batch=recipe.batch,
        embedding_length=artifact.mapped.shape.n_embd,
        pooling=None if artifact.mapped.kind == "decoder" else _POOLING[int(pooling)],  # type: ignore[arg-type]
        chat_template=artifact.vocabulary.chat_template,
        special_texts=special_token_texts(header.files),
        device=Device(
            name=target.name,
            title=target.title,
            arch=target.isa.arch,
            threads=target.cpu.threads,
            available_mib=fit.available_mib,
            needed_mib=fit.needed_mib,
        ),
    )


def _weights(loaded: LoadedRecipe, header: CheckpointHeader, artifact: GgufPlan) -> str:
    """`sha256:<hex>` of all that decides what the model computes: the checkpoint and how it is quantized.

    Not of names, versions or tools: vectors that are kept stay good when only those change.
    """
    quantize = artifact.settings.quantize
    return sha256_json(
        {
            "source": model_key(header.identity),
            "architecture": loaded.recipe.source.architecture,
            "pre_tokenizer": artifact.settings.tokenizer.pre,
            "scheme": quantize.scheme,
            "overrides": [[o.tensors, o.type] for o in quantize.overrides],
            "imatrix": None if quantize.imatrix is None else _imatrix(loaded, quantize.imatrix),
        }
    )


def _imatrix(loaded: LoadedRecipe, imatrix: Imatrix) -> dict[str, Any]:
    """An importance matrix by the content that it is made of."""
    if imatrix.calibration is None:
        return {"file": sha256_bytes(loaded.resolve(imatrix.file or "").read_bytes())}
    text = read_text(loaded.resolve(imatrix.calibration), "calibration text")
    return {"calibration": sha256_bytes(text.encode()), "max_tokens": imatrix.max_tokens}
