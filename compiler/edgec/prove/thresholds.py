"""What a proof demands when the recipe does not say: thresholds per quantization scheme.

Rule: limits are about three to five times what a healthy conversion was measured at (docs/proof.md has the numbers), so
that a wrong conversion, a broken tensor or a bad importance matrix fails and an ordinary model does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.recipe.model import Prove


@dataclass(frozen=True)
class Thresholds:
    """Limits of a proof: KL divergence in nats, shares and cosines between 0 and 1, perplexity as a multiple."""

    max_kl: float
    min_top1: float
    max_perplexity_ratio: float
    min_cosine: float

    @property
    def min_mean_cosine(self) -> float:
        """The mean over texts must be twice as close to 1 as the worst text."""
        return (1 + self.min_cosine) / 2


# Scheme: mean KL, top-1, perplexity ratio (decoders), worst cosine (encoders).
_DEFAULTS: dict[str, Thresholds] = {
    "f32": Thresholds(0.001, 0.98, 1.005, 0.9999),
    "f16": Thresholds(0.001, 0.98, 1.005, 0.9999),
    "bf16": Thresholds(0.001, 0.98, 1.005, 0.9995),
    "q8_0": Thresholds(0.002, 0.96, 1.01, 0.999),
    "q6_k": Thresholds(0.005, 0.94, 1.02, 0.997),
    "q5_k_m": Thresholds(0.01, 0.92, 1.03, 0.99),
    "q5_k_s": Thresholds(0.012, 0.91, 1.03, 0.99),
    "q5_0": Thresholds(0.02, 0.90, 1.04, 0.99),
    "q4_k_m": Thresholds(0.04, 0.86, 1.06, 0.97),
    "q4_k_s": Thresholds(0.05, 0.85, 1.07, 0.97),
    "q4_1": Thresholds(0.06, 0.83, 1.10, 0.96),
    "q4_0": Thresholds(0.08, 0.80, 1.12, 0.95),
    "iq4_xs": Thresholds(0.05, 0.85, 1.08, 0.97),
    "iq4_nl": Thresholds(0.05, 0.85, 1.08, 0.97),
    "q3_k_m": Thresholds(0.15, 0.75, 1.20, 0.92),
    "q2_k": Thresholds(0.50, 0.60, 1.60, 0.80),
}


def defaults(scheme: str) -> Thresholds:
    """The thresholds of a scheme of the recipe. Raises KeyError for a name that is none."""
    return _DEFAULTS[scheme]


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
    )
