"""The texts that prove an encoder, and the pairs that prove a reranker, as the model's tokens.

Rule: lines that the artifact was calibrated or chosen on prove nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgec.formats.onnx.encoder import Encoder, Tokens, encode
from edgec.prove.encoder import choose_texts
from edgec.prove.held_out import built_in_text
from edgec.prove.reranker import TextPair, choose_pairs


@dataclass(frozen=True)
class ProofTexts:
    """Texts as tokens; `pairs`: what they are of, where the model scores pairs."""

    tokens: Sequence[Tokens]
    pairs: Sequence[TextPair] = ()

    @property
    def longest(self) -> int:
        """Tokens of the longest."""
        return max(len(text.ids) for text in self.tokens)


def proof_texts(
    files: Mapping[str, bytes], encoder: Encoder, held_out_text: str | None, *, calibrated: frozenset[str]
) -> ProofTexts:
    """Held-out lines, less those calibrated on, or pairs of them. Raises InputError: too few."""
    whole = built_in_text() if held_out_text is None else held_out_text
    text = "\n".join(line for line in whole.splitlines() if line.strip() not in calibrated)
    if encoder.kind == "encoder":
        return ProofTexts(encode(files, choose_texts(text), encoder))
    pairs = choose_pairs(text)
    return ProofTexts(encode(files, [(p.query, p.document) for p in pairs], encoder), pairs)


def proof_ids(
    files: Mapping[str, bytes], encoder: Encoder, held_out_text: str | None, *, calibrated: frozenset[str]
) -> list[list[int]]:
    """The token ids alone."""
    return [text.ids for text in proof_texts(files, encoder, held_out_text, calibrated=calibrated).tokens]


def calibration_pairs(files: Mapping[str, bytes], encoder: Encoder, lines: Sequence[str]) -> list[list[Tokens]]:
    """Pairs of calibration lines, those of one query together."""
    pairs = choose_pairs("\n".join(lines))
    tokens = encode(files, [(p.query, p.document) for p in pairs], encoder)
    groups: dict[int, list[Tokens]] = {}
    for pair, each in zip(pairs, tokens, strict=True):
        groups.setdefault(pair.group, []).append(each)
    return list(groups.values())
