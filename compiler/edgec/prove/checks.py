"""Turns what was measured into checks: each with its threshold, where it comes from, and what to do on a miss."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.prove.divergence import Divergence
from edgec.prove.encoder import EmbeddingAgreement
from edgec.prove.held_out import HeldOut
from edgec.prove.model import Check, TensorError
from edgec.prove.reranker import ScoreAgreement
from edgec.prove.thresholds import Thresholds, max_tensor_error

# Embeddings of different texts that are on average closer than this ignore their input.
_MAX_ALIKE = 0.999
# Fewer texts than this have no likeness.
_MIN_TEXTS = 2
# Scores of different pairs that spread less than this ignore their input.
_MIN_SPREAD = 1e-3
_NOT_FINITE = "a weight or a scale is NaN, infinite or too large: check the source, or keep its tensor in f16"
_FINER = "choose a finer quantization scheme, use an importance matrix, or set "
_SHOWN = 3


def divergence_checks(found: Divergence, held_out: HeldOut, limits: Thresholds) -> tuple[Check, ...]:
    """Finite logits, mean KL divergence, top-1, perplexity ratio, and the reference's own perplexity."""
    finite = at_most("logits not finite", found.broken, 0, "tokens", hint=_NOT_FINITE)
    if found.tokens == 0:
        return (finite,)
    scored = f"{found.tokens} tokens in {len(held_out.windows)} windows of {held_out.size}"
    return (
        finite,
        at_most("KL divergence", found.mean_kl, limits.max_kl, "nats", detail=scored, hint=_FINER + "prove.max_kl"),
        at_least(
            "top-1 agreement", found.top1, limits.min_top1, "of tokens", detail=scored, hint=_FINER + "prove.min_top1"
        ),
        at_most(
            "perplexity ratio",
            found.perplexity_ratio,
            limits.max_perplexity_ratio,
            "times the unquantized model's",
            detail=f"{found.perplexity:.4g} against {found.reference_perplexity:.4g}",
            hint=_FINER + "prove.max_perplexity_ratio",
        ),
        at_most(
            "perplexity of the unquantized model",
            found.reference_perplexity,
            held_out.unigram_perplexity,
            "",
            detail="the limit is what counting tokens alone would reach on this text",
            hint="the conversion is wrong, or the model does not know the text's language: give another prove.held_out",
        ),
    )


def embedding_checks(found: EmbeddingAgreement, limits: Thresholds) -> tuple[Check, ...]:
    """Finite embeddings, worst and mean cosine, and whether the reference tells texts apart."""
    finite = at_most("embeddings not finite", found.broken, 0, "texts", hint=_NOT_FINITE)
    if found.texts < _MIN_TEXTS:
        return (finite,)
    texts, finer = f"{found.texts} texts", _FINER + "prove.min_cosine"
    return (
        finite,
        at_least("smallest cosine", found.min_cosine, limits.min_cosine, "", detail=texts, hint=finer),
        at_least("mean cosine", found.mean_cosine, limits.min_mean_cosine, "", detail=texts, hint=finer),
        at_most(
            "likeness of different texts",
            found.alike,
            _MAX_ALIKE,
            "",
            detail="the unquantized model's embeddings",
            hint="the model ignores its input, so the conversion is wrong; or give different lines in prove.held_out",
        ),
    )


def score_checks(found: ScoreAgreement, limits: Thresholds) -> tuple[Check, ...]:
    """Finite scores, their error, the order of documents, and whether the reference tells pairs apart."""
    finite = at_most("scores not finite", found.broken, 0, "pairs", hint=_NOT_FINITE)
    if found.pairs < _MIN_TEXTS:
        return (finite,)
    pairs, finer = f"{found.pairs} pairs", _FINER + "prove.max_score_error"
    return (
        finite,
        at_most("score error", found.error, limits.max_score_error, "of the spread", detail=pairs, hint=finer),
        at_least("same order", found.same_order, limits.min_same_order, "of documents", detail=pairs, hint=finer),
        at_least(
            "spread of the scores",
            found.spread,
            _MIN_SPREAD,
            "",
            detail="the unquantized model's scores",
            hint="the model ignores its input, so the conversion is wrong; or give different lines in prove.held_out",
        ),
    )


def tensor_checks(tensors: Sequence[TensorError]) -> tuple[Check, ...]:
    """No tensor is farther from its source than its type allows; no check without tensors.

    Needed beside the divergence: a model can lose a whole tensor and diverge no more than another does by quantization.
    """
    if not tensors:
        return ()
    wrong = [t for t in tensors if not t.relative_rmse <= max_tensor_error(t.type)]
    shown = "; ".join(f"{t.name} ({t.type}): {t.relative_rmse:.3g}" for t in wrong[:_SHOWN])
    return (
        Check(
            name="tensor errors",
            measured=len(wrong),
            threshold=0,
            relation="==",
            unit=f"tensors of {len(tensors)} beyond their type's error",
            passed=not wrong,
            detail=shown,
            hint="keep these tensors in a finer type: artifacts[].quantize.overrides",
        ),
    )


def at_most(name: str, found: float, limit: float, unit: str, *, detail: str = "", hint: str) -> Check:
    passed = found <= limit
    return Check(
        name=name, measured=found, threshold=limit, relation="<=", unit=unit, passed=passed, detail=detail, hint=hint
    )


def at_least(name: str, found: float, limit: float, unit: str, *, detail: str = "", hint: str) -> Check:
    passed = found >= limit
    return Check(
        name=name, measured=found, threshold=limit, relation=">=", unit=unit, passed=passed, detail=detail, hint=hint
    )
