"""The Triton model of a GGUF: the python backend around llama.cpp, with the inputs and outputs of its kind.

Rule: pure. What model.py must know stands in `SharedParameters` and `VersionParameters`.
"""

from __future__ import annotations

import json
import struct
from importlib.metadata import version
from typing import Any

from edgec.deploy.features import takes_tools
from edgec.deploy.model import ServedModel
from edgec.deploy.triton.interface import (
    EMBEDDING_INPUTS,
    GENERATION_INPUTS,
    GENERATION_OUTPUTS,
    RERANK_INPUTS,
    RERANK_OUTPUTS,
    Tensor,
    embedding_outputs,
)
from edgec.deploy.triton.model_config import DynamicBatching, ModelConfig, Queue, WarmUp, WarmUpInput
from edgec.deploy.triton.parameters import TO_BUNDLE_ROOT, VERSION_FILE, SharedParameters, VersionParameters
from edgec.deploy.triton.repository import Model
from edgec.deploy.triton.templates import python_files
from edgec.recipe.package import TritonPackage

# How long the first text of a batch waits for others: short beside the time that one text takes on a small CPU.
_EMBEDDING_DELAY_US = 2_000
_DEFAULT_MAX_TOKENS = 512
_WARM_UP_TEXT = "Hello, world."


def model_name(settings: TritonPackage, recipe_name: str) -> str:
    """The model's name in Triton."""
    return settings.model_name or recipe_name


def runtime_requirement() -> str:
    """What the python backend's Python must have, as pip takes it."""
    return f"xllamacpp=={runtime_version()}"


def runtime_version() -> str:
    """The version of xllamacpp: what proves the model here is what serves it on the device."""
    return version("xllamacpp")


def max_tokens(settings: TritonPackage, context: int) -> int:
    """New tokens when a request does not say: what the recipe says, else 512, but never more than half the context."""
    return settings.max_tokens or max(1, min(_DEFAULT_MAX_TOKENS, context // 2))


def llama_cpp_model(settings: TritonPackage, model: ServedModel) -> Model:
    """The folder of `model` in the repository: its configuration, model.py and what belongs to this version."""
    inputs, outputs = _tensors(model)
    is_encoder = model.kind == "encoder"
    queue = Queue(settings.queue_size, settings.queue_timeout_ms)
    config = ModelConfig(
        name=model_name(settings, model.name),
        backend="python",
        inputs=inputs,
        outputs=outputs,
        max_batch_size=settings.max_batch_size if is_encoder else 0,
        decoupled=model.kind == "decoder",
        served_versions=settings.served_versions,
        # Decoders and rerankers take every request at once and keep their own queue: see SharedParameters.
        batching=DynamicBatching(queue, _EMBEDDING_DELAY_US) if is_encoder else None,
        # A streaming model warms itself up (`SharedParameters.warm_up`): Triton's request would pass through `execute`
        # and stand among the tokens that the model counts.
        warm_up=(_warm_up(inputs),) if settings.warm_up and model.kind != "decoder" else (),
        parameters=_shared(settings, model).texts(),
    )
    files = {
        **{f"{settings.version}/{name}": data for name, data in python_files("llama_cpp").items()},
        f"{settings.version}/{VERSION_FILE}": _json(_version(model).texts()),
    }
    for one in config.warm_up:
        files |= {f"warmup/{i.file}": _bytes_element(_WARM_UP_TEXT) for i in one.inputs if i.file is not None}
    return Model(config, files)


def _warm_up(inputs: tuple[Tensor, ...]) -> WarmUp:
    given = tuple(WarmUpInput(t.name, t.data_type, (1,), file=t.name) for t in inputs)
    return WarmUp("first-request", given)


def _bytes_element(text: str) -> bytes:
    """`text` as one element of a BYTES tensor: its length in 4 bytes, then UTF-8."""
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _tensors(model: ServedModel) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    if model.kind == "decoder":
        return GENERATION_INPUTS, GENERATION_OUTPUTS
    if model.kind == "reranker":
        return RERANK_INPUTS, RERANK_OUTPUTS
    return EMBEDDING_INPUTS, embedding_outputs(model.embedding_length)


def _shared(settings: TritonPackage, model: ServedModel) -> SharedParameters:
    is_decoder = model.kind == "decoder"
    keeps_queue = model.kind != "encoder"
    if model.kind == "classifier":
        raise ValueError("llama.cpp serves no image classifier")
    return SharedParameters(
        kind=model.kind,
        parallel=model.batch,
        threads=model.device.threads,
        warm_up=settings.warm_up if is_decoder else None,
        max_tokens=max_tokens(settings, model.context) if is_decoder else None,
        queue_size=settings.queue_size if keeps_queue else None,
        queue_timeout_ms=settings.queue_timeout_ms if keeps_queue else None,
        max_documents=settings.max_batch_size if model.kind == "reranker" else None,
    )


def _version(model: ServedModel) -> VersionParameters:
    return VersionParameters(
        bundle=f"{model.name} {model.version}",
        gguf_path=f"{TO_BUNDLE_ROOT}/{model.files[0]}",
        context=model.context,
        xllamacpp=runtime_version(),
        pooling=model.pooling,
        embedding_length=model.embedding_length if model.kind == "encoder" else None,
        tools=takes_tools(model) if model.kind == "decoder" else None,
    )


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
