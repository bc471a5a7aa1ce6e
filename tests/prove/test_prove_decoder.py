"""A healthy artifact passes; each mistake a converter can make fails the check that is there for it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from proof_models import (
    DOCS_LLAMA,
    checkpoint,
    compile_model,
    overwrite,
    vocabulary_of,
    with_rotary_halves_apart,
    with_swapped_tokens,
)

from edgec.errors import InputError, ToolError
from edgec.events import Event, Note, Progress, Reporter, silent
from edgec.prove.gguf import prove_gguf
from edgec.prove.model import Proof, TensorError
from edgec.prove.subject import Subject
from edgec.recipe.model import Prove

HELD_OUT = (DOCS_LLAMA / "held_out.txt").read_text()
QUICK = Prove(windows=2)


def prove(
    artifact: Path, reference: Path, *, text: str | None = HELD_OUT, scheme: str = "q4_k_m", settings: Prove = QUICK,
    report: Reporter = silent, template: str | None = None, tensors: tuple[TensorError, ...] = (),
) -> Proof:  # fmt: skip
    source = checkpoint()
    vocabulary = vocabulary_of(source)
    subject = Subject(
        name="docs-llama",
        artifact=artifact,
        reference=reference,
        tokenizer_files=source.header.files,
        held_out_text=text,
        scheme=scheme,
        settings=settings,
        vocabulary=replace(vocabulary, chat_template=template or vocabulary.chat_template),
        tensors=tensors,
    )
    return prove_gguf("decoder", subject, report, "prove")


def failed(proof: Proof) -> set[str]:
    return {c.name for c in proof.checks if not c.passed}


def measured(proof: Proof, name: str) -> float:
    return next(c.measured for c in proof.checks if c.name == name)


def test_healthy_model_passes_every_check(q4_k_m: Path, reference: Path) -> None:
    events: list[Event] = []
    proof = prove(q4_k_m, reference, report=events.append)
    assert failed(proof) == set()
    assert {c.name for c in proof.checks} == {
        "vocabulary size", "token ids", "token ids of the unquantized model", "logits not finite", "KL divergence",
        "top-1 agreement", "perplexity ratio", "perplexity of the unquantized model", "chat template", "greedy text",
    }  # fmt: skip
    assert 0.001 < measured(proof, "KL divergence") < 0.01
    assert 20 < measured(proof, "perplexity of the unquantized model") < 45
    assert "xllamacpp" in proof.runtime
    assert len(proof.samples) == 3
    assert all(s.text for s in proof.samples)
    assert {"speed on the device", "peak memory on the device"} <= {n.what for n in proof.not_verified}
    progress = [e for e in events if isinstance(e, Progress)]
    assert (progress[-1].done, progress[-1].total) == (2 * 256, 2 * 256)


def test_same_inputs_give_the_same_proof(q4_k_m: Path, reference: Path) -> None:
    assert prove(q4_k_m, reference) == prove(q4_k_m, reference)


def test_model_against_itself_is_exact(reference: Path) -> None:
    proof = prove(reference, reference, scheme="bf16")
    assert measured(proof, "KL divergence") == 0
    assert measured(proof, "top-1 agreement") == 1
    assert measured(proof, "perplexity ratio") == 1


def test_the_recipe_decides(q4_k_m: Path, reference: Path) -> None:
    strict = Prove(windows=2, max_kl=1e-6, min_top1=0.9999, max_perplexity_ratio=1.00001)
    proof = prove(q4_k_m, reference, settings=strict)
    assert failed(proof) == {"KL divergence", "top-1 agreement", "perplexity ratio"}
    assert all("prove." in (c.hint or "") for c in proof.checks if not c.passed)


def test_permuted_vocabulary_fails_the_token_ids(tmp_path: Path, reference: Path) -> None:
    artifact = compile_model(tmp_path, "q4_k_m", change_vocabulary=with_swapped_tokens)
    proof = prove(artifact, reference)
    assert "token ids" in failed(proof)
    assert "token ids of the unquantized model" not in failed(proof)


def test_wrong_converter_fails_although_both_files_share_it(tmp_path: Path) -> None:
    artifact = compile_model(tmp_path / "a", "q8_0", change_vocabulary=with_swapped_tokens)
    reference = compile_model(tmp_path / "r", "source", change_vocabulary=with_swapped_tokens)
    assert {"token ids", "token ids of the unquantized model"} <= failed(prove(artifact, reference, scheme="q8_0"))


def test_rotary_halves_left_apart_fail_the_divergence(tmp_path: Path, reference: Path) -> None:
    artifact = compile_model(tmp_path, "q4_k_m", change_model=with_rotary_halves_apart)
    assert {"KL divergence", "top-1 agreement", "perplexity ratio"} <= failed(prove(artifact, reference))


@pytest.mark.parametrize("tensor", ["blk.0.ffn_down.weight", "blk.4.attn_q.weight"])
def test_zeroed_tensor_fails_the_divergence(tmp_path: Path, q4_k_m: Path, reference: Path, tensor: str) -> None:
    artifact = shutil.copy(q4_k_m, tmp_path / "zeroed.gguf")
    overwrite(artifact, tensor, b"\0")
    assert "KL divergence" in failed(prove(artifact, reference))


def test_garbage_source_fails_on_the_unquantized_model_itself(tmp_path: Path, reference: Path) -> None:
    garbage = shutil.copy(reference, tmp_path / "garbage.gguf")
    overwrite(garbage, "token_embd.weight", bytes(range(64)))
    assert "perplexity of the unquantized model" in failed(prove(garbage, garbage, scheme="bf16"))


def test_nan_weight_is_refused_by_name(tmp_path: Path, reference: Path) -> None:
    broken = shutil.copy(reference, tmp_path / "nan.gguf")
    overwrite(broken, "blk.1.ffn_up.weight", b"\xc0\x7f")
    with pytest.raises(ToolError, match=r"blk\.1\.ffn_up\.weight"):
        prove(broken, reference)


def test_overflowing_weights_fail_the_finite_check(tmp_path: Path, reference: Path) -> None:
    broken = shutil.copy(reference, tmp_path / "huge.gguf")
    for tensor in ("blk.5.ffn_up.weight", "blk.5.ffn_gate.weight"):
        overwrite(broken, tensor, b"\x7f\x7f")  # the largest bfloat16
    proof = prove(broken, reference)
    assert failed(proof) == {"logits not finite"}
    assert measured(proof, "logits not finite") == 2 * 128


def test_truncated_file_is_refused(tmp_path: Path, q4_k_m: Path, reference: Path) -> None:
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(q4_k_m.read_bytes()[:-4096])
    with pytest.raises(ToolError, match=r"(?s)refuses the model.*not within the file bounds|corrupted or incomplete"):
        prove(truncated, reference)


def test_tensor_far_from_its_source_fails_where_the_divergence_cannot_see_it(q4_k_m: Path, reference: Path) -> None:
    """A zeroed blk.0.attn_q costs docs-llama 0.01 nats, less than a healthy Q4_K_M costs larger models."""
    healthy = TensorError(name="blk.0.attn_k.weight", type="q4_k", elements=32768, bytes=18432, relative_rmse=0.07)
    zeroed = TensorError(name="blk.0.attn_q.weight", type="q4_k", elements=65536, bytes=36864, relative_rmse=1.0)
    assert failed(prove(q4_k_m, reference, tensors=(healthy,))) == set()
    proof = prove(q4_k_m, reference, tensors=(healthy, zeroed))
    assert failed(proof) == {"tensor errors"}
    assert "blk.0.attn_q.weight" in next(c.detail for c in proof.checks if not c.passed)


def test_text_without_one_window_is_refused(q4_k_m: Path, reference: Path) -> None:
    with pytest.raises(InputError, match=r"held-out text has \d+ tokens; one window of the proof needs 256"):
        prove(q4_k_m, reference, text="Too short.")


def test_short_text_gives_fewer_windows_and_says_so(q4_k_m: Path, reference: Path) -> None:
    events: list[Event] = []
    proof = prove(q4_k_m, reference, text=HELD_OUT[:4000], settings=Prove(), report=events.append)
    assert any(isinstance(e, Note) and "windows, not 16" in e.message for e in events)
    assert "windows of 256" in next(c.detail for c in proof.checks if c.name == "KL divergence")


def test_window_is_cut_to_the_trained_context(q4_k_m: Path, reference: Path) -> None:
    events: list[Event] = []
    prove(q4_k_m, reference, settings=Prove(windows=2, window_tokens=1024), report=events.append)
    assert Note("the proof uses windows of 256 tokens: the model was trained with no more") in events


def test_built_in_text_is_used_and_named(q4_k_m: Path, reference: Path) -> None:
    proof = prove(q4_k_m, reference, text=None)
    assert failed(proof) == set()
    assert "quality on texts of the model's use" in {n.what for n in proof.not_verified}


def test_template_that_is_not_the_files_fails(q4_k_m: Path, reference: Path) -> None:
    """The file carries ChatML; the proof is told that another one is meant."""
    proof = prove(q4_k_m, reference, template="{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}")
    assert failed(proof) == {"chat template"}
    assert "<|im_start|>user" in next(c.detail for c in proof.checks if not c.passed)


def test_wrong_chat_template_is_refused(q4_k_m: Path, reference: Path) -> None:
    with pytest.raises(InputError, match="chat template cannot be rendered"):
        prove(q4_k_m, reference, template="{% for m in messages %}{{ m.content }}")
