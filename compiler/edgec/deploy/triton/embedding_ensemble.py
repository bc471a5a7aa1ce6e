"""Text embeddings of an ONNX encoder: an ensemble of a tokenizer, the encoder and its pooling.

Rule: a client sees one model with the tensors of every embedding model; the three behind it are named after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.deploy.triton.interface import EMBEDDING_INPUTS, Tensor, embedding_outputs
from edgec.deploy.triton.model_config import ModelConfig, Queue, Step
from edgec.deploy.triton.onnx import OnnxSettings, onnx_model
from edgec.deploy.triton.repository import Model
from edgec.deploy.triton.templates import python_files

EncoderInput = Literal["input_ids", "attention_mask", "token_type_ids"]
_HIDDEN = "last_hidden_state"


@dataclass(frozen=True)
class EmbeddingEnsembleSettings:
    """`dimension`: elements of an embedding, the encoder's width. `context`: tokens of one text, special ones included.

    `encoder_inputs`: what the graph takes; its output is `last_hidden_state`. `encoder_backend`: see OnnxSettings.
    """

    name: str
    dimension: int
    context: int
    pooling: Literal["mean", "cls", "last"]
    pad_id: int
    threads: int
    queue: Queue
    normalize: bool = True
    encoder_inputs: tuple[EncoderInput, ...] = ("input_ids", "attention_mask", "token_type_ids")
    encoder_backend: Literal["onnxruntime", "python"] = "onnxruntime"
    version: int = 1
    served_versions: int = 1
    max_batch_size: int = 8

    def __post_init__(self) -> None:
        # Without the mask, the pooling could not tell padding from tokens.
        if "input_ids" not in self.encoder_inputs or "attention_mask" not in self.encoder_inputs:
            raise ValueError("an encoder takes `input_ids` and `attention_mask` at least")


def embedding_ensemble(settings: EmbeddingEnsembleSettings, *, tokenizer: bytes) -> tuple[Model, ...]:
    """The four models, the ensemble first. `tokenizer`: the content of tokenizer.json."""
    ids = tuple(Tensor(name, "INT64", (-1,)) for name in settings.encoder_inputs)
    hidden = Tensor(_HIDDEN, "FP32", (-1, settings.dimension))
    encoder = onnx_model(
        OnnxSettings(
            name=f"{settings.name}_encoder",
            inputs=ids,
            outputs=(hidden,),
            threads=settings.threads,
            queue=settings.queue,
            version=settings.version,
            served_versions=settings.served_versions,
            max_batch_size=settings.max_batch_size,
            backend=settings.encoder_backend,
            warm_up_size=min(8, settings.context),
        )
    )
    tokens = _python(settings, "tokenizer", EMBEDDING_INPUTS, ids, {"tokenizer.json": tokenizer})
    mask = next(t for t in ids if t.name == "attention_mask")
    pooling = _python(settings, "pooling", (hidden, mask), embedding_outputs(settings.dimension), {})
    return _ensemble(settings), tokens, encoder, pooling


def _python(
    settings: EmbeddingEnsembleSettings,
    part: Literal["tokenizer", "pooling"],
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    beside: dict[str, bytes],
) -> Model:
    parameters = {
        "tokenizer": {"context": str(settings.context), "pad_id": str(settings.pad_id)},
        "pooling": {"normalize": str(settings.normalize).lower(), "pooling": settings.pooling},
    }
    config = ModelConfig(
        name=f"{settings.name}_{part}",
        backend="python",
        inputs=inputs,
        outputs=outputs,
        max_batch_size=settings.max_batch_size,
        served_versions=settings.served_versions,
        parameters=parameters[part],
    )
    files = {**python_files(part), **beside}
    return Model(config, {f"{settings.version}/{name}": data for name, data in files.items()})


def _ensemble(settings: EmbeddingEnsembleSettings) -> Model:
    ids: dict[str, str] = {name: name for name in settings.encoder_inputs}
    mask = "attention_mask"
    steps = (
        Step(f"{settings.name}_tokenizer", {"text_input": "text_input"}, ids),
        Step(f"{settings.name}_encoder", ids, {_HIDDEN: _HIDDEN}),
        Step(f"{settings.name}_pooling", {_HIDDEN: _HIDDEN, mask: mask}, {"embedding": "embedding"}),
    )
    config = ModelConfig(
        name=settings.name,
        backend=None,
        inputs=EMBEDDING_INPUTS,
        outputs=embedding_outputs(settings.dimension),
        max_batch_size=settings.max_batch_size,
        served_versions=settings.served_versions,
        steps=steps,
    )
    # Triton wants a version folder of every model, and an ensemble has nothing to put into it.
    return Model(config, {f"{settings.version}/README": _NOTHING_HERE})


_NOTHING_HERE = b"An ensemble has no files of its own; Triton wants its version folder.\n"
