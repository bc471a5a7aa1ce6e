"""The Triton models of a TensorRT-LLM 0.12 engine: preprocessing, tensorrt_llm and postprocessing, and their ensemble.

Rule: pure. tensorrt_llm's tensors and parameters are those of its Triton backend, version 0.12; a client sees the names
of every text generator, as far as the engine can serve them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgec.deploy.triton.interface import GENERATION_INPUTS, GENERATION_OUTPUTS, DataType, Tensor
from edgec.deploy.triton.model_config import DynamicBatching, ModelConfig, Queue, Reshape, Step
from edgec.deploy.triton.repository import Model
from edgec.deploy.triton.templates import python_files

ENGINE = "tensorrt_llm"
_WORKER = "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker"
# The client's name to the engine's, for what goes to the engine as it is.
_DIRECT = {
    "temperature": "temperature",
    "top_p": "runtime_top_p",
    "top_k": "runtime_top_k",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "random_seed",
    "stream": "streaming",
}
_PREPARED = ("text_input", "messages", "max_tokens", "stop")
_RAGGED = ("input_ids", "stop_words_list")


@dataclass(frozen=True)
class TensorRtLlmSettings:
    """`engine_path`: the engine's folder on the device. `max_batch_size`, `context` and `max_input` (tokens of a
    sequence and of its prompt): of the engine's build.

    `kv_cache_fraction`: share of the GPU's free memory for the KV cache; `kv_cache_tokens`: or a number of tokens, the
    smaller of both. `max_tokens`: new tokens when a request does not say. `end_id`, `pad_id`: of the tokenizer.
    """

    engine_path: str
    max_batch_size: int
    context: int
    max_input: int
    max_tokens: int
    end_id: int
    pad_id: int
    queue: Queue
    kv_cache_fraction: float = 0.85
    kv_cache_tokens: int | None = None
    kv_cache_reuse: bool = False
    scheduler: Literal["guaranteed_no_evict", "max_utilization"] = "guaranteed_no_evict"
    cancellation_check_ms: int = 100
    name: str = "ensemble"
    version: int = 1
    served_versions: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.kv_cache_fraction < 1:
            raise ValueError("`kv_cache_fraction` is a share between 0 and 1")
        if self.kv_cache_tokens is not None and self.kv_cache_tokens < self.context:
            raise ValueError("`kv_cache_tokens` is less than one sequence, `context`")
        if not 0 < self.max_input < self.context:
            raise ValueError("`max_input` leaves no room for an answer in `context`")
        if not 0 < self.max_tokens < self.context:
            raise ValueError("`max_tokens` leaves no room for a prompt in `context`")


def tensorrt_llm_models(
    settings: TensorRtLlmSettings,
    *,
    tokenizer: bytes,
    chat_template: str | None = None,
    special_texts: Mapping[str, str] | None = None,
) -> tuple[Model, ...]:
    """The four models, the ensemble first. `tokenizer`: tokenizer.json; `chat_template`: jinja2, for `messages`;
    `special_texts`: what it writes for bos_token and the like.
    """
    prepared = _tensors("input_ids", "input_lengths", "request_output_len", "stop_words_list", "end_id", "pad_id")
    beside = {"tokenizer.json": tokenizer}
    template = {} if chat_template is None else _template_files(chat_template, special_texts or {})
    inputs = tuple(t for t in GENERATION_INPUTS if t.name in _PREPARED)
    parameters = {
        "context": str(settings.context),
        "end_id": str(settings.end_id),
        "max_input": str(settings.max_input),
        "max_tokens": str(settings.max_tokens),
        "pad_id": str(settings.pad_id),
    }
    before = _python(settings, "preprocessing", inputs, prepared, parameters=parameters, beside=beside | template)
    after = _python(settings, "postprocessing", _engine_outputs(), _outputs(), parameters={}, beside=beside)
    return _ensemble(settings), before, _engine(settings), after


def _template_files(chat_template: str, special_texts: Mapping[str, str]) -> dict[str, bytes]:
    texts = json.dumps(dict(special_texts), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return {"chat_template.jinja": chat_template.encode(), "special_texts.json": texts.encode()}


_ENGINE_TYPES: dict[str, tuple[DataType, tuple[int, ...]]] = {
    "input_ids": ("INT32", (-1,)),
    "input_lengths": ("INT32", (1,)),
    "request_output_len": ("INT32", (1,)),
    "stop_words_list": ("INT32", (2, -1)),
    "end_id": ("INT32", (1,)),
    "pad_id": ("INT32", (1,)),
}
_REQUIRED = ("input_ids", "input_lengths", "request_output_len")


def _tensors(*names: str) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, *_ENGINE_TYPES[name]) for name in names)


def _engine_outputs() -> tuple[Tensor, ...]:
    return Tensor("output_ids", "INT32", (-1, -1)), Tensor("sequence_length", "INT32", (-1,))


def _outputs() -> tuple[Tensor, ...]:
    """What is known after the engine; a tensor from before it cannot join the answers that it sends one by one."""
    return tuple(t for t in GENERATION_OUTPUTS if t.name in ("text_output", "completion_tokens"))


def _direct_inputs() -> tuple[Tensor, ...]:
    return tuple(t for t in GENERATION_INPUTS if t.name in _DIRECT)


def _engine(settings: TensorRtLlmSettings) -> Model:
    own = tuple(Tensor(n, *_ENGINE_TYPES[n], optional=n not in _REQUIRED) for n in _ENGINE_TYPES)
    direct = tuple(Tensor(_DIRECT[t.name], t.data_type, optional=True) for t in _direct_inputs())
    # `stop` ends a running request; the backend needs it in its configuration.
    inputs = (*own, *direct, Tensor("stop", "BOOL", optional=True))
    config = ModelConfig(
        name=ENGINE,
        backend="tensorrtllm",
        inputs=inputs,
        outputs=_engine_outputs(),
        max_batch_size=settings.max_batch_size,
        decoupled=True,
        served_versions=settings.served_versions,
        batching=DynamicBatching(settings.queue, preferred_batch_sizes=(settings.max_batch_size,)),
        parameters=_engine_parameters(settings),
        reshapes={t.name: Reshape() for t in inputs if t.dims == (1,)},
        ragged=frozenset(_RAGGED),
    )
    return Model(config, {f"{settings.version}/README": b"The engine stands where gpt_model_path says.\n"})


def _engine_parameters(settings: TensorRtLlmSettings) -> dict[str, str]:
    values = {
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "batch_scheduler_policy": settings.scheduler,
        "cancellation_check_period_ms": str(settings.cancellation_check_ms),
        "enable_kv_cache_reuse": str(settings.kv_cache_reuse).lower(),
        "exclude_input_in_output": "true",
        "executor_worker_path": _WORKER,
        "gpt_model_path": settings.engine_path,
        "gpt_model_type": "inflight_fused_batching",
        "kv_cache_free_gpu_mem_fraction": str(settings.kv_cache_fraction),
        "max_beam_width": "1",
    }
    if settings.kv_cache_tokens is not None:
        values["max_tokens_in_paged_kv_cache"] = str(settings.kv_cache_tokens)
    return values


def _python(
    settings: TensorRtLlmSettings,
    name: str,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    *,
    parameters: dict[str, str],
    beside: dict[str, bytes],
) -> Model:
    config = ModelConfig(
        name=name,
        backend="python",
        inputs=inputs,
        outputs=outputs,
        max_batch_size=settings.max_batch_size,
        served_versions=settings.served_versions,
        parameters=parameters,
    )
    files = {**python_files(f"trtllm_{name}"), **beside}
    return Model(config, {f"{settings.version}/{path}": data for path, data in files.items()})


def _ensemble(settings: TensorRtLlmSettings) -> Model:
    prepared = {name: name for name in _ENGINE_TYPES}
    direct = {_DIRECT[t.name]: t.name for t in _direct_inputs()}
    answer = {t.name: t.name for t in _engine_outputs()}
    steps = (
        Step("preprocessing", {name: name for name in _PREPARED}, prepared),
        Step(ENGINE, prepared | direct, answer),
        Step("postprocessing", answer, {t.name: t.name for t in _outputs()}),
    )
    config = ModelConfig(
        name=settings.name,
        backend=None,
        inputs=tuple(t for t in GENERATION_INPUTS if t.name in (*_PREPARED, *_DIRECT)),
        outputs=_outputs(),
        max_batch_size=settings.max_batch_size,
        served_versions=settings.served_versions,
        steps=steps,
    )
    return Model(config, {f"{settings.version}/README": b"An ensemble has no files of its own.\n"})
