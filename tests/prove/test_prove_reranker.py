"""A reranker's proof: passes when healthy, fails on each damage; its prompt is what llama.cpp's server runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import encoder_models
import numpy as np
import pytest
from encoder_models import write_reranker
from proof_models import compile_checkpoint, overwrite, reranker_vocabulary

from edgec.errors import InputError
from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.prove.gguf import prove_gguf
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Proof
from edgec.prove.reranker import TextPair, choose_pairs, compare_scores
from edgec.prove.subject import Subject
from edgec.recipe.model import Prove
from edgec.source.local import open_local
from edgec.source.model import Checkpoint


@dataclass(frozen=True)
class Reranker:
    source: Checkpoint
    reference: Path
    artifact: Path


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    folder = tmp_path_factory.mktemp("reranker")
    source = open_local(write_reranker(folder / "source", built_in_text().splitlines()))
    return Reranker(source, *(compile_checkpoint(source, folder / s, s) for s in ("source", "q8_0")))


def prove(reranker: Reranker, artifact: Path, *, settings: Prove | None = None, template: str | None = None) -> Proof:
    vocabulary = reranker_vocabulary(reranker.source)
    subject = Subject(
        name="reranker",
        artifact=artifact,
        reference=reranker.reference,
        tokenizer_files=reranker.source.header.files,
        held_out_text=None,
        scheme="q8_0",
        settings=settings or Prove(),
        vocabulary=replace(vocabulary, rerank_template=template or vocabulary.rerank_template),
        tensors=(),
    )
    return prove_gguf("reranker", subject, silent, "prove")


def failed(proof: Proof) -> set[str]:
    return {c.name for c in proof.checks if not c.passed}


def test_healthy_reranker_passes_every_check(reranker: Reranker) -> None:
    proof = prove(reranker, reranker.artifact)
    assert failed(proof) == set()
    assert {c.name for c in proof.checks} == {
        "vocabulary size", "token ids", "token ids of the unquantized model", "token ids of pairs", "scores not finite",
        "score error", "same order", "spread of the scores",
    }  # fmt: skip
    error = next(c for c in proof.checks if c.name == "score error")
    assert 1e-4 < error.measured < error.threshold


def test_the_recipe_decides(reranker: Reranker) -> None:
    proof = prove(reranker, reranker.artifact, settings=Prove(max_score_error=1e-6))
    assert "score error" in failed(proof)


def test_damaged_layer_fails(reranker: Reranker, tmp_path: Path) -> None:
    damaged = shutil.copy(reranker.artifact, tmp_path / "damaged.gguf")
    overwrite(damaged, "blk.1.ffn_down.weight", b"\0")
    assert {"score error", "same order"} <= failed(prove(reranker, damaged))


def test_head_of_zeros_ignores_its_input(reranker: Reranker, tmp_path: Path) -> None:
    deaf = Path(shutil.copy(reranker.reference, tmp_path / "deaf.gguf"))
    overwrite(deaf, "cls.output.weight", b"\0")
    assert "spread of the scores" in failed(prove(replace(reranker, reference=deaf), deaf))


def test_prompt_without_its_last_separator_fails(reranker: Reranker) -> None:
    proof = prove(reranker, reranker.artifact, template="[CLS]{query}[SEP]{document}")
    assert "token ids of pairs" in failed(proof)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type_vocab_size": 2}, "token types"),
        ({"id2label": {"0": "no", "1": "yes"}}, "has 2 labels"),
    ],
)
def test_what_llama_cpp_would_score_wrongly_is_refused(
    reranker: Reranker, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(reranker.source.root, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match=message):
        map_model(open_local(folder).header, name="test")


def test_pairs_are_cut_to_a_short_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_models, "_POSITIONS", 64)
    source = open_local(write_reranker(tmp_path / "source", built_in_text().splitlines()))
    short = Reranker(source, *(compile_checkpoint(source, tmp_path / s, s) for s in ("source", "q8_0")))
    assert not {"token ids of pairs", "scores not finite"} & failed(prove(short, short.artifact))


def test_tokenizer_without_a_template_of_pairs_is_refused(reranker: Reranker, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(reranker.source.root, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"]["pair"] = tokenizer["post_processor"]["single"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="how a query and a document are put together"):
        reranker_vocabulary(open_local(folder))


def test_each_query_meets_its_own_line_and_others() -> None:
    pairs = choose_pairs(built_in_text())
    groups = {p.group for p in pairs}
    assert len(groups) == 8
    for group in groups:
        own = [p for p in pairs if p.group == group]
        assert len({p.document for p in own}) == len(own) == 8
        assert sum(p.document.startswith(p.query[:40]) for p in own) >= 1


def test_scores_against_closed_forms() -> None:
    pairs = [TextPair(0, "q", "a"), TextPair(0, "q", "b"), TextPair(1, "r", "a"), TextPair(1, "r", "b")]
    reference = np.array([0.0, 2.0, 0.0, 2.0])
    found = compare_scores(pairs, reference, np.array([0.0, 2.0, 1.0, 0.5]))
    assert (found.pairs, found.broken, found.spread) == (4, 0, 1.0)
    assert found.error == pytest.approx(np.sqrt((1 + 1.5**2) / 4))
    assert found.same_order == 0.5
    assert compare_scores(pairs, reference, np.array([0.0, np.nan, 0.0, 2.0])).broken == 1
