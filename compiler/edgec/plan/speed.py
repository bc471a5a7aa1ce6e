"""Predicted decode speed: time per token = t0 + bytes read / effective bandwidth, as a range.

Rule: every range carries its provenance, the state it needs, and says when it extrapolates; nothing here is measured.
"""

from __future__ import annotations

from edgec.documents.wording import listed
from edgec.errors import InputError
from edgec.plan.kv_cache import KvShape, kv_cache_bytes
from edgec.plan.model import Speed
from edgec.target.model import Provenance, Runtime, SpeedModel, Target

# Scheme -> family of the profiles' speed models.
_FAMILY = {
    **dict.fromkeys(("q4_k_m", "q4_k_s", "q4_0", "q4_1", "iq4_xs", "iq4_nl"), "q4"),
    "q8_0": "q8",
    **dict.fromkeys(("f16", "bf16", "fp16"), "f16"),
    **dict.fromkeys(("w8a8", "w8a8_g128", "w8a8_g256", "w8a8_g512"), "w8a8"),
    **dict.fromkeys(("int4_awq", "int4_gptq", "int4_rtn", "int4_wo"), "int4"),
}

# Architectures whose published speeds lie below what their weights explain, and why.
_LOW_CONFIDENCE = {
    "gemma2": "Gemma 2 is published at 47 to 50 % of the bandwidth where others reach 76 to 86 %",
    "gemma3n": "per-layer embeddings are read in a way that bytes per token do not describe",
    "gemma4": "per-layer embeddings are read in a way that bytes per token do not describe",
    "minicpm3": "multi-head latent attention does more work per byte",
    "deepseek2": "multi-head latent attention does more work per byte",
}
# How far the low end is moved down for these: the worst of them (Gemma 2 9B) reaches 0.67 of the usual low end.
_LOW_CONFIDENCE_FACTOR = 0.6


def weights_read_per_token(*, weights_bytes: int, token_embedding_bytes: int, tied: bool) -> int:
    """Bytes of weights read to decode one token.

    Of the token embedding only one row is read, unless it is tied: then it is the output matrix too and read whole.
    Dense models only: of a mixture of experts only the active ones are read.
    """
    return weights_bytes if tied else weights_bytes - token_embedding_bytes


def kv_read_per_token(shape: KvShape, *, context: int, kv_bytes: int) -> int:
    """Bytes of KV cache read to decode the last token of a full context (sliding windows counted as windows)."""
    return kv_cache_bytes(shape, context=context, kv_bytes=kv_bytes, batch=1, n_ubatch=0)


def predict_speed(
    target: Target,
    runtime_name: str,
    *,
    bytes_per_token: int,
    kv_bytes_per_token_at_context: int,
    scheme: str,
    arch: str | None = None,
) -> Speed:
    """Decode speed of one sequence on `target`, in tokens per second.

    `bytes_per_token`: weights read per token; `kv_bytes_per_token_at_context`: KV cache read at the recipe's context;
    `arch`: llama.cpp's architecture name, to mark those whose speed is known to be hard to predict.
    Raises InputError when the target has no such runtime or the runtime no speed for the scheme.
    """
    runtime = _runtime(target, runtime_name)
    model = _speed_model(target, runtime_name, runtime, scheme)
    read = bytes_per_token + kv_bytes_per_token_at_context
    odd = _LOW_CONFIDENCE.get(arch or "")
    low_gbs, high_gbs = model.bw_eff_gbs
    if odd is not None:
        low_gbs *= _LOW_CONFIDENCE_FACTOR
    return Speed(
        runtime=runtime_name,
        low_tok_s=_tokens_per_second(model.t0_ms[1], read, low_gbs),
        high_tok_s=_tokens_per_second(model.t0_ms[0], read, high_gbs),
        bytes_per_token=read,
        confidence=_confidence(model, read, odd),
        requires=model.requires,
        provenance=_provenance_text(model.provenance),
        runtime_title=runtime.title,
    )


def _runtime(target: Target, name: str) -> Runtime:
    if name not in target.runtimes:
        raise InputError.of(
            f"target {target.name} has no runtime `{name}`", hint=f"its runtimes: {listed(tuple(target.runtimes))}"
        )
    return target.runtimes[name]


def _speed_model(target: Target, runtime_name: str, runtime: Runtime, scheme: str) -> SpeedModel:
    by_family: dict[str, SpeedModel] = {model.quant_family: model for model in runtime.speed}
    model = by_family.get(_FAMILY.get(scheme, "any")) or by_family.get("any")
    if model is None:
        raise InputError.of(
            f"target {target.name} knows no speed of {runtime_name} for `{scheme}`",
            hint=f"add a `speed` entry with `quant_family: any` to runtimes.{runtime_name} of the profile",
        )
    return model


def _tokens_per_second(t0_ms: float, read_bytes: int, gbs: float) -> float:
    return 1.0 / (t0_ms / 1e3 + read_bytes / (gbs * 1e9))


def _confidence(model: SpeedModel, read_bytes: int, odd: str | None) -> str:
    if odd is not None:
        return f"low: {odd}"
    if model.measured_gb is None:
        return "uncalibrated"
    low, high = model.measured_gb
    gb = read_bytes / 1e9
    if not low * 0.9 <= gb <= high * 1.1:
        return f"extrapolated: measured for {low:g} to {high:g} GB per token, this model reads {gb:.2g} GB"
    return "calibrated"


def _provenance_text(provenance: Provenance) -> str:
    note = f". {provenance.note}" if provenance.note else ""
    return f"{provenance.kind}: {provenance.source}{note}"
