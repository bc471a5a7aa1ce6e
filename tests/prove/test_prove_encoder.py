"""An encoder's proof: passes when healthy, fails on each damage; the arithmetic of cosines."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from encoder_models import write_encoder
from proof_models import compile_checkpoint, overwrite, vocabulary_of

from edgec.errors import InputError
from edgec.events import silent
from edgec.prove.encoder import choose_texts, compare_embeddings
from edgec.prove.gguf import prove_gguf
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Proof
from edgec.prove.subject import Subject
from edgec.recipe.model import Prove
from edgec.source.local import open_local
from edgec.source.model import Checkpoint


@dataclass(frozen=True)
class Encoder:
    source: Checkpoint
    reference: Path
    artifact: Path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("encoder")
    source = open_local(write_encoder(folder / "source", built_in_text().splitlines()))
    return Encoder(source, *(compile_checkpoint(source, folder / s, s) for s in ("source", "q8_0")))


def prove(encoder: Encoder, artifact: Path, *, text: str | None = None, settings: Prove | None = None) -> Proof:
    subject = Subject(
        name="encoder",
        artifact=artifact,
        reference=encoder.reference,
        tokenizer_files=encoder.source.header.files,
        held_out_text=text,
        scheme="q8_0",
        settings=settings or Prove(),
        vocabulary=vocabulary_of(encoder.source),
        tensors=(),
    )
    return prove_gguf("encoder", subject, silent, "prove")


def failed(proof: Proof) -> set[str]:
    return {c.name for c in proof.checks if not c.passed}


def test_healthy_encoder_passes_every_check(encoder: Encoder) -> None:
    proof = prove(encoder, encoder.artifact)
    assert failed(proof) == set()
    assert {c.name for c in proof.checks} == {
        "vocabulary size", "token ids", "token ids of the unquantized model", "embeddings not finite",
        "smallest cosine", "mean cosine", "likeness of different texts",
    }  # fmt: skip
    smallest = next(c for c in proof.checks if c.name == "smallest cosine")
    assert 0.999 < smallest.measured < 1


def test_the_recipe_decides(encoder: Encoder) -> None:
    proof = prove(encoder, encoder.artifact, settings=Prove(min_cosine=0.999999))
    assert failed(proof) == {"smallest cosine", "mean cosine"}


def test_damaged_layer_fails(encoder: Encoder, tmp_path: Path) -> None:
    damaged = shutil.copy(encoder.artifact, tmp_path / "damaged.gguf")
    overwrite(damaged, "blk.1.ffn_down.weight", b"\0")
    assert {"smallest cosine", "mean cosine"} <= failed(prove(encoder, damaged))


def test_long_lines_are_cut_to_the_context(encoder: Encoder) -> None:
    lines = [f"{word} " * 400 for word in ("harbour", "pencil", "bread", "engine")]
    assert failed(prove(encoder, encoder.artifact, text="\n".join(lines))) == set()


def test_too_few_lines_are_refused(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="3 different lines of at least 20 characters"):
        prove(encoder, encoder.artifact, text="\n".join(["a line that is long enough", "another line, as long", "x"] * 9
                                                       + ["and a third one of this length"]))  # fmt: skip


def test_texts_are_taken_evenly() -> None:
    lines = [f"this is line number {i:04}" for i in range(1000)]
    chosen = choose_texts("\n".join(lines))
    assert (len(chosen), chosen[0], chosen[-1]) == (64, lines[0], lines[-1])
    assert len(set(chosen)) == 64


def test_cosines_against_closed_forms() -> None:
    reference = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    artifact = np.array([[2.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    found = compare_embeddings(reference, artifact)
    assert (found.texts, found.broken) == (3, 0)
    assert found.min_cosine == pytest.approx(-1)
    assert found.mean_cosine == pytest.approx((1 - 1 + 2**-0.5) / 3)
    assert found.alike == pytest.approx((0 + 2**-0.5 + 2**-0.5) / 3)


def test_embeddings_that_are_zero_or_not_finite_are_counted() -> None:
    rows = np.eye(4)
    broken = rows.copy()
    broken[0], broken[1, 1] = 0, np.nan
    found = compare_embeddings(rows, broken)
    assert (found.texts, found.broken, found.min_cosine) == (2, 2, 1.0)
