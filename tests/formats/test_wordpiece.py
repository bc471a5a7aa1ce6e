"""A tokenizer.json beside the vocab.txt of another model is refused; other differences are none of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgec.errors import InputError
from edgec.formats.wordpiece import require_one_vocabulary

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##s", "\u00e9")


def files(listed: tuple[str, ...], kind: str = "WordPiece", end: str = "\n") -> dict[str, bytes]:
    document = {"model": {"type": kind, "vocab": {token: i for i, token in enumerate(TOKENS)}}}
    text = "".join(token + end for token in listed)
    return {"tokenizer.json": json.dumps(document).encode(), "vocab.txt": text.encode()}


def test_other_ids_are_refused_with_the_first_of_them() -> None:
    with pytest.raises(InputError, match=r"2 of 7 tokens .* \('##s': 4 and 5\): one of the two files is of another"):
        require_one_vocabulary(files((*TOKENS[:4], "##s", "the", "\u00e9")))


@pytest.mark.parametrize(
    "found",
    [
        files(TOKENS), files(TOKENS, end="\r\n"), files((*TOKENS, "more")), files(TOKENS[:5]),
        files(("[UNK]", "the"), kind="BPE"), {"vocab.txt": b"the\n"}, {"vocab.txt": b"the\n", "tokenizer.json": b"{"},
    ],
)  # fmt: skip
def test_what_is_no_contradiction_passes(found: dict[str, bytes]) -> None:
    require_one_vocabulary(found)


def test_the_vocabulary_that_a_package_carries_is_one(minilm_checkpoint: Path) -> None:
    names = ("tokenizer.json", "vocab.txt")
    present = {name: (minilm_checkpoint / name).read_bytes() for name in names if (minilm_checkpoint / name).exists()}
    assert "tokenizer.json" in present
    require_one_vocabulary(present)
