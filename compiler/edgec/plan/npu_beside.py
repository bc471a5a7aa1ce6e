"""The NPU beside the CPU for a text generator, where the target's profile has numbers for both.

Rule: a prediction, with its confidence; what edgec does not build is said not to be built.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.formats.gguf.layout import GgufLayout
from edgec.formats.gguf.model import MappedModel
from edgec.plan.model import Speed
from edgec.plan.speed import kv_read_per_token, predict_speed, weights_read_per_token
from edgec.target.model import Target

_RUNTIME, _SCHEME = "rkllm", "w8a8"


def npu_beside(
    target: Target, mapped: MappedModel, layout: GgufLayout, context: int, speeds: Sequence[Speed]
) -> tuple[str, ...]:
    """A note on the NPU beside `speeds`, what was predicted of the artifact; none without an NPU or a prediction."""
    runtime = target.runtimes.get(_RUNTIME)
    if runtime is None or _SCHEME not in runtime.schemes or not speeds:
        return ()
    # One byte for each weight.
    sizes = {t.name: t.rows * t.columns for t in layout.tensors}
    npu = predict_speed(
        target,
        _RUNTIME,
        bytes_per_token=weights_read_per_token(
            weights_bytes=sum(sizes.values()),
            token_embedding_bytes=sizes["token_embd.weight"],
            tied="output.weight" not in sizes,
        ),
        kv_bytes_per_token_at_context=kv_read_per_token(mapped.shape, context=context, kv_bytes=runtime.kv_bytes),
        scheme=_SCHEME,
        arch=mapped.arch,
    )
    low, high = min(s.low_tok_s for s in speeds), max(s.high_tok_s for s in speeds)
    return (
        f"the NPU beside the CPU: {runtime.title} with {_SCHEME} is predicted at {npu.low_tok_s:.1f} to "
        f"{npu.high_tok_s:.1f} tokens/s ({npu.confidence}), this artifact on the CPU at {low:.1f} to {high:.1f}; "
        "the NPU leaves the CPU free; this version does not build for RKLLM",
    )
