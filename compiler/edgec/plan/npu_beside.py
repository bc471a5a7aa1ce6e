"""The NPU beside the CPU for a text generator, where the target's profile has numbers for both.

Rule: a prediction, with its confidence, from either side; of encoders, whose speed is not predicted, see `plan.rknn`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.errors import InputError
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.formats.gguf.model import MappedModel
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.plan.model import Speed
from edgec.plan.speed import kv_read_per_token, predict_speed, weights_read_per_token
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target

_RUNTIME, _SCHEME = "rkllm", "w8a8"
_CPU, _CPU_SCHEMES = "llama_cpp", ("q4_0", "q4_k_m")


def npu_beside(
    target: Target, mapped: MappedModel, layout: GgufLayout, context: int, speeds: Sequence[Speed]
) -> tuple[str, ...]:
    """A note on the NPU beside `speeds`, what was predicted of the artifact; none without an NPU or a prediction."""
    runtime = target.runtimes.get(_RUNTIME)
    if runtime is None or _SCHEME not in runtime.schemes or not speeds:
        return ()
    # One byte for each weight.
    sizes = {t.name: t.rows * t.columns for t in layout.tensors}
    npu = _predicted(target, _RUNTIME, _SCHEME, mapped, sizes=sizes, context=context)
    low, high = min(s.low_tok_s for s in speeds), max(s.high_tok_s for s in speeds)
    return (
        f"the NPU beside the CPU: {runtime.title} with {_SCHEME} is predicted at {_range(npu)} tokens/s "
        f"({npu.confidence}), this artifact on the CPU at {low:.1f} to {high:.1f}; the NPU leaves the CPU free "
        "(`format: rkllm`, with Rockchip's own wheel)",
    )


def cpu_beside(target: Target, header: CheckpointHeader, context: int, speed: Speed, *, scheme: str) -> tuple[str, ...]:
    """A note on the CPU beside `speed`, what was predicted of an artifact on the NPU in `scheme`.

    None where the model cannot become a GGUF.
    """
    runtime = target.runtimes.get(_CPU)
    if runtime is None:
        return ()
    try:
        mapped = map_model(header, name="beside", architecture=None)
        vocabulary = map_vocabulary(
            header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch, pre=None, chat_template=None, reranks=False
        )
        layouts = {s: plan_layout(mapped, vocabulary, header.tensors, scheme=s, name=s) for s in _CPU_SCHEMES}
    except InputError:
        return ()
    told = []
    for cpu_scheme, layout in layouts.items():
        sizes = {t.name: t.nbytes for t in layout.tensors}
        cpu = _predicted(target, _CPU, cpu_scheme, mapped, sizes=sizes, context=context)
        told.append(f"{cpu_scheme} at {_range(cpu)} ({cpu.confidence})")
    return (
        f"the CPU beside the NPU: {runtime.title} is predicted with {' and '.join(told)} tokens/s, this artifact, in "
        f"{scheme} on the NPU, at {_range(speed)} ({speed.confidence}); 4 bits are half of the memory, the NPU leaves "
        "the CPU free",
    )


def _predicted(
    target: Target, name: str, scheme: str, mapped: MappedModel, *, sizes: dict[str, int], context: int
) -> Speed:
    """`sizes`: bytes of each tensor, by its name in a GGUF."""
    read = weights_read_per_token(
        weights_bytes=sum(sizes.values()),
        token_embedding_bytes=sizes["token_embd.weight"],
        tied="output.weight" not in sizes,
    )
    kv_bytes = target.runtimes[name].kv_bytes
    return predict_speed(
        target,
        name,
        bytes_per_token=read,
        kv_bytes_per_token_at_context=kv_read_per_token(mapped.shape, context=context, kv_bytes=kv_bytes),
        scheme=scheme,
        arch=mapped.arch,
    )


def _range(speed: Speed) -> str:
    return f"{speed.low_tok_s:.1f} to {speed.high_tok_s:.1f}"
