"""What a proof demands when the recipe does not say: thresholds per quantization scheme.

Rule: limits are two to four times what llama.cpp's evaluation publishes for a model that is hard to quantize (Llama 3
8B, see docs/proof.md). A wrong conversion lies far beyond; one lost tensor may not, so each tensor has a limit too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgec.recipe.model import Prove


@dataclass(frozen=True)
class Thresholds:
    """Limits of a proof: KL divergence in nats, shares and cosines between 0 and 1, perplexity as a multiple."""

    max_kl: float
    min_top1: float
    max_perplexity_ratio: float
    min_cosine: float
    # The recipe's own limit; None: it follows from `min_cosine`.
    own_score_error: float | None = None
    # The scheme's own limit of the mean cosine; None: it follows from `min_cosine`.
    own_mean_cosine: float | None = None

    @property
    def max_score_error(self) -> float:
        """Rerankers: twice the relative error that a vector of the worst allowed cosine has.

        A scheme with a limit of its own for the mean has the error of that: errors of scores are a mean too.
        """
        if self.own_score_error is not None:
            return self.own_score_error
        return 2 * math.sqrt(2 * (1 - (self.own_mean_cosine or self.min_cosine)))

    @property
    def min_same_order(self) -> float:
        """Rerankers: documents, two by two, in the same order; always well above chance."""
        return max(0.6, 1 - self.max_score_error)

    @property
    def min_mean_cosine(self) -> float:
        """The scheme's own limit; else the mean over texts must be twice as close to 1 as the worst text."""
        return (1 + self.min_cosine) / 2 if self.own_mean_cosine is None else self.own_mean_cosine


# Scheme: mean KL, top-1, perplexity ratio (decoders), worst cosine (encoders).
_DEFAULTS: dict[str, Thresholds] = {
    "f32": Thresholds(0.002, 0.97, 1.005, 0.9999),
    "f16": Thresholds(0.002, 0.97, 1.005, 0.9999),
    "bf16": Thresholds(0.002, 0.97, 1.005, 0.9995),
    "q8_0": Thresholds(0.004, 0.95, 1.01, 0.999),
    "q6_k": Thresholds(0.012, 0.92, 1.015, 0.996),
    "q5_k_m": Thresholds(0.025, 0.90, 1.03, 0.99),
    "q5_k_s": Thresholds(0.035, 0.88, 1.04, 0.99),
    "q5_0": Thresholds(0.045, 0.87, 1.05, 0.985),
    "q4_k_m": Thresholds(0.07, 0.84, 1.06, 0.97),
    "q4_k_s": Thresholds(0.09, 0.82, 1.09, 0.97),
    "q4_1": Thresholds(0.15, 0.78, 1.15, 0.96),
    "q4_0": Thresholds(0.15, 0.78, 1.15, 0.95),
    "iq4_xs": Thresholds(0.09, 0.82, 1.09, 0.97),
    "iq4_nl": Thresholds(0.09, 0.82, 1.09, 0.97),
    "q3_k_m": Thresholds(0.22, 0.74, 1.22, 0.92),
    "q2_k": Thresholds(0.90, 0.50, 2.20, 0.80),
    # Of engines that TensorRT builds: decoders, so the cosine has no use. docs/proof.md says where they come from.
    "fp16": Thresholds(0.002, 0.97, 1.005, 0.9999),
    "int8_wo": Thresholds(0.01, 0.93, 1.015, 0.999),
    "int8_sq": Thresholds(0.09, 0.82, 1.09, 0.97),
    "int4_awq": Thresholds(0.15, 0.78, 1.15, 0.95),
    "int4_gptq": Thresholds(0.15, 0.78, 1.15, 0.95),
    "int4_rtn": Thresholds(0.22, 0.74, 1.22, 0.92),
    "int4_wo": Thresholds(0.50, 0.64, 1.50, 0.85),
    # For onnxruntime, of decoders and of encoders, for which only the cosines have a use: docs/onnx.md says where they
    # come from.
    "fp32": Thresholds(0.002, 0.97, 1.005, 0.9999),
    "int8": Thresholds(0.01, 0.93, 1.015, 0.97, own_mean_cosine=0.99),
    "int8_static": Thresholds(0.15, 0.78, 1.15, 0.97, own_mean_cosine=0.99),
    "int8_fine": Thresholds(0.01, 0.93, 1.015, 0.996, own_mean_cosine=0.999),
    "int4": Thresholds(0.15, 0.78, 1.15, 0.85, own_mean_cosine=0.95),
    "auto": Thresholds(0.15, 0.78, 1.15, 0.97, own_mean_cosine=0.99),
    # Of Rockchip's NPU: encoders, which have `fp16` and `auto` too (docs/rknn.md), and decoders, as INT8 elsewhere.
    "w8a8": Thresholds(0.09, 0.82, 1.09, 0.97, own_mean_cosine=0.99),
    "w8a8_g128": Thresholds(0.09, 0.82, 1.09, 0.97),
    "w8a8_g256": Thresholds(0.09, 0.82, 1.09, 0.97),
    "w8a8_g512": Thresholds(0.09, 0.82, 1.09, 0.97),
    "mixed": Thresholds(0.15, 0.78, 1.15, 0.97, own_mean_cosine=0.99),
}

# Tensor type: largest error relative to the source's root mean square. About 2.5 times what well-behaved weights show
# (docs-llama: docs/proof.md); a tensor of zeros, or of another tensor's values, has 1 or more.
_TENSOR_ERRORS = {
    "f32": 0.0001, "f16": 0.01, "bf16": 0.01, "q8_0": 0.02, "q6_k": 0.05, "q5_k": 0.1, "q5_0": 0.12, "q5_1": 0.12,
    "q4_k": 0.2, "q4_0": 0.25, "q4_1": 0.22, "iq4_xs": 0.2, "iq4_nl": 0.2, "q3_k": 0.4, "q2_k": 0.7,
    "i8": 0.05, "i4": 0.35,
}  # fmt: skip


def defaults(scheme: str) -> Thresholds:
    """The thresholds of a scheme of the recipe. Raises KeyError for a name that is none."""
    return _DEFAULTS[scheme]


def max_tensor_error(tensor_type: str) -> float:
    """The largest relative error of a tensor of this type. Raises KeyError for a name that is none."""
    return _TENSOR_ERRORS[tensor_type]


def demanded(scheme: str, settings: Prove) -> Thresholds:
    """The thresholds of a build: the recipe's where it sets them, else the scheme's."""
    base = defaults(scheme)
    return Thresholds(
        max_kl=base.max_kl if settings.max_kl is None else settings.max_kl,
        min_top1=base.min_top1 if settings.min_top1 is None else settings.min_top1,
        max_perplexity_ratio=(
            base.max_perplexity_ratio if settings.max_perplexity_ratio is None else settings.max_perplexity_ratio
        ),
        min_cosine=base.min_cosine if settings.min_cosine is None else settings.min_cosine,
        own_score_error=settings.max_score_error,
        own_mean_cosine=base.own_mean_cosine if settings.min_cosine is None else None,
    )
