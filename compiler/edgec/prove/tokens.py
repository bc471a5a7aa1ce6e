"""Compares a runtime's token ids with Hugging Face `tokenizers` on the corpus.

Rule: a difference passes only when a known limit of the runtime, written as a changed tokenizer, gives exactly the
runtime's ids; it is then counted and reported under that limit's name. Every other difference fails the proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgec.formats.gguf.vocabulary.limits import Limit
from edgec.formats.gguf.vocabulary.loading import load_tokenizer
from edgec.prove.corpus import Piece, corpus
from edgec.prove.model import Check, NotVerified

Tokenize = Callable[[str], list[int]]
_SHOWN = 5
_SHOWN_IDS = 12


@dataclass(frozen=True)
class Mode:
    """How a text is tokenized: `special`: special tokens in the text are parsed; `complete`: bos and eos are added."""

    name: str
    special: bool
    complete: bool = False


MODES = {
    "special tokens parsed": Mode("special tokens parsed", special=True),
    "special tokens as text": Mode("special tokens as text", special=False),
    "with bos and eos": Mode("with bos and eos", special=True, complete=True),
}


@dataclass(frozen=True)
class Difference:
    """A text whose ids differ. `cause`: the known limit that explains it, None when nothing does."""

    piece: Piece
    mode: str
    expected: tuple[int, ...]
    found: tuple[int, ...]
    expected_tokens: tuple[str, ...]
    found_tokens: tuple[str, ...]
    cause: str | None

    @property
    def position(self) -> int:
        """Index of the first differing id."""
        pairs = zip(self.expected, self.found, strict=False)
        shared = min(len(self.expected), len(self.found))
        return next((i for i, (a, b) in enumerate(pairs) if a != b), shared)

    def render(self) -> str:
        """Three lines for people: where, what was expected, what was found, from one token before the difference."""
        start = max(0, self.position - 1)
        cut = slice(start, start + _SHOWN_IDS)
        shown = self.piece.text if len(self.piece.text) <= 60 else self.piece.text[:57] + "..."
        lines = [f"{self.piece.name} ({self.mode}), token {self.position}: {shown!r}"]
        for title, ids, tokens in (
            ("expected", self.expected, self.expected_tokens),
            ("found", self.found, self.found_tokens),
        ):
            pairs = " ".join(f"{i}:{t!r}" for i, t in zip(ids[cut], tokens[cut], strict=True))
            lines.append(f"  {title:<8} {'... ' if start else ''}{pairs}{' ...' if len(ids) > cut.stop else ''}")
        return "\n".join(lines)


@dataclass(frozen=True)
class TokenComparison:
    """The outcome: how many texts were compared, how many had equal ids, and every difference."""

    compared: int
    equal: int
    differences: tuple[Difference, ...]
    limits: Mapping[str, str]

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Differences that no known limit explains."""
        return tuple(d for d in self.differences if d.cause is None)

    def check(self) -> Check:
        """The proof's check: no unexplained difference. The detail shows the first of them."""
        wrong = self.unexplained
        shown = "\n".join(d.render() for d in wrong[:_SHOWN])
        more = f"\nand {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return Check(
            name="token ids",
            measured=len(wrong),
            threshold=0,
            relation="==",
            unit=f"different texts of {self.compared}",
            passed=not wrong,
            detail=shown + more,
        )

    def not_verified(self) -> tuple[NotVerified, ...]:
        """What differs for a known reason: one entry per limit, with the number of texts and an example."""
        counts = Counter(d.cause for d in self.differences if d.cause is not None)
        first = {d.cause: d for d in reversed(self.differences)}
        return tuple(
            NotVerified(
                what=f"token ids of {count} of {self.compared} texts: {cause}",
                why=self.limits.get(cause, cause),
                example=first[cause].render(),
            )
            for cause, count in sorted(counts.items())
        )


class Oracle:
    """`tokenizers` on one tokenizer.json. InputError when it cannot be read."""

    def __init__(self, tokenizer_json: bytes) -> None:
        self._tokenizer = load_tokenizer(tokenizer_json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def ids(self, text: str, mode: Mode) -> tuple[int, ...]:
        """The ids of `text`."""
        self._tokenizer.encode_special_tokens = not mode.special
        return tuple(self._tokenizer.encode(text, add_special_tokens=mode.complete).ids)

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The tokens' own spelling."""
        return tuple(self._tokenizer.id_to_token(i) or f"[no token {i}]" for i in ids)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts of the added tokens, by id."""
        added = self._tokenizer.get_added_tokens_decoder()
        return tuple(added[i].content for i in sorted(added))


def pair_ids(tokenizer_json: bytes, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
    """The ids of pairs of texts with the special tokens that tokenizer.json puts around and between them."""
    tokenizer = load_tokenizer(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [list(tokenizer.encode(first, second).ids) for first, second in pairs]


class _Causes:
    """Finds the first limit that explains a difference."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = limits

    @cached_property
    def _oracles(self) -> list[tuple[str, Oracle]]:
        # Built at the first difference: a large tokenizer takes a second to load.
        return [(limit.name, Oracle(limit.tokenizer_json())) for limit in self._limits]

    def of(self, text: str, mode: Mode, found: tuple[int, ...]) -> str | None:
        return next((name for name, oracle in self._oracles if oracle.ids(text, mode) == found), None)


def compare_tokens(
    tokenizer_json: bytes,
    tokenize: Tokenize,
    *,
    tokenize_text: Tokenize | None = None,
    tokenize_complete: Tokenize | None = None,
    limits: Sequence[Limit] = (),
) -> TokenComparison:
    """Compares ids on every piece of the corpus.

    `tokenize` parses special tokens and adds none; `tokenize_text` takes them for ordinary text; `tokenize_complete`
    adds bos and eos as the runtime does for a prompt. Left out modes are not compared.
    """
    oracle, causes = Oracle(tokenizer_json), _Causes(limits)
    given = zip(MODES.values(), (tokenize, tokenize_text, tokenize_complete), strict=True)
    runs = [(mode, run) for mode, run in given if run is not None]
    pieces = corpus(oracle.special_tokens)
    differences = []
    for mode, run in runs:
        for piece in pieces:
            expected, found = oracle.ids(piece.text, mode), tuple(run(piece.text))
            if expected != found:
                cause = causes.of(piece.text, mode, found)
                names = oracle.tokens(expected), oracle.tokens(found)
                differences.append(Difference(piece, mode.name, expected, found, *names, cause))
    compared = len(runs) * len(pieces)
    return TokenComparison(
        compared=compared,
        equal=compared - len(differences),
        differences=tuple(differences),
        limits={limit.name: limit.explanation for limit in limits},
    )
