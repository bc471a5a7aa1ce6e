"""What to use for 4-bit weights where a target's NPU has none, with the predicted speed of both.

Rule: known without a model, from the profile alone, so that a check of documents can say it; it imports no format.
"""

from __future__ import annotations

from edgec.plan.model import Speed
from edgec.plan.speed import predict_speed
from edgec.target.model import Target

_RUNTIME, _SCHEME = "rkllm", "w8a8"
_CPU, _CPU_SCHEMES = "llama_cpp", ("q4_0", "q4_k_m")
# Bits of a weight, on average, in a file of the scheme.
_BITS = {"q4_0": 4.5, "q4_k_m": 4.85, _SCHEME: 8}
_BILLION = 1_000_000_000


def four_bits_beside(target: Target) -> str | None:
    """What to use for 4 bits where the NPU has none, with the speed of both; None without a prediction of both."""
    if not {_RUNTIME, _CPU} <= target.runtimes.keys():
        return None
    npu, small, fine = (
        predict_speed(
            target, name, bytes_per_token=int(_BILLION * _BITS[scheme] / 8), kv_bytes_per_token_at_context=0,
            scheme=scheme,
        )
        for name, scheme in ((_RUNTIME, _SCHEME), *((_CPU, s) for s in _CPU_SCHEMES))
    )  # fmt: skip
    return (
        "for 4 bits use `format: gguf` with `q4_0` or `q4_k_m` on the CPU: a model of a billion weights is predicted "
        f"to decode with them at {_range(small)} or {_range(fine)} tokens/s ({small.confidence}), and with {_SCHEME} "
        f"on the NPU at {_range(npu)}"
    )


def _range(speed: Speed) -> str:
    return f"{speed.low_tok_s:.1f} to {speed.high_tok_s:.1f}"
