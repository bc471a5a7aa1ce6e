"""Decoded artifacts against docs-llama in the toolchain `transformers`: healthy ones pass, damaged ones do not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair_models import INSIDE, Arrays, changed_copy, config_of, random_tensors, read_tensors, write_checkpoint
from proof_models import DOCS_LLAMA

from edgec.errors import InputError, ProofError, ToolError
from edgec.events import Event, Progress, silent
from edgec.prove.decoder_pair.comparison import Comparison, compare_pair
from edgec.prove.decoder_pair.needs import pair_memory_mib
from edgec.prove.decoder_pair.pair import DecoderPair, prove_decoder_pair
from edgec.prove.decoder_pair.texts import PairTokenizer
from edgec.prove.device_reference import EngineAnswer, read_device_reference
from edgec.prove.model import Proof, TensorError
from edgec.quantize.architecture import read_decoder
from edgec.recipe.model import Prove
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, find_toolchain, install

HELD_OUT = (DOCS_LLAMA / "held_out.txt").read_text()
SETTINGS = Prove(windows=4, window_tokens=128)


def toolchain(test: Any) -> Any:
    """For tests that compare in torch."""
    return pytest.mark.toolchain(pytest.mark.heavy("transformers")(test))


@pytest.fixture(scope="session")
def torch_tools(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain in which decoders are compared."""
    log = tmp_path_factory.mktemp("logs") / "install.log"
    return install(find_toolchain("transformers"), toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture
def prove(torch_tools: Environment, tmp_path: Path) -> Callable[..., Proof]:
    """Proves a candidate against docs-llama, or against `source`."""

    def run(candidate: Path, scheme: str = "fp16", **changes: Any) -> Proof:
        report = changes.pop("report", silent)
        source = open_local(changes.pop("source", DOCS_LLAMA))
        pair = DecoderPair(**{
            "name": "llm", "source": source, "candidate": candidate, "runtime": "TensorRT-LLM 0.12.0",
            "scheme": scheme, "settings": SETTINGS, "held_out_text": HELD_OUT, "tensors": (), "artifact_files": {},
            "logs": tmp_path / "logs", **changes,
        })  # fmt: skip
        return prove_decoder_pair(pair, torch_tools, tmp_path / "reference.json", report)

    return run


def failed(proof: Proof) -> set[str]:
    return {c.name for c in proof.checks if not c.passed}


def measured(proof: Proof, name: str) -> float:
    return next(c.measured for c in proof.checks if c.name == name)


@toolchain
def test_a_model_is_itself(prove: Callable[..., Proof], tmp_path: Path) -> None:
    events: list[Event] = []
    files = {"tokenizer.json": (DOCS_LLAMA / "tokenizer.json").read_bytes()}
    proof = prove(DOCS_LLAMA, artifact_files=files, report=events.append)
    assert failed(proof) == set()
    assert measured(proof, "KL divergence") == 0
    assert measured(proof, "top-1 agreement") == measured(proof, "perplexity ratio") == 1
    assert measured(proof, "perplexity of the unquantized model") == pytest.approx(21.46, abs=0.01)
    assert {"tokenizer.json of the artifact", "chat template", "largest token id"} <= {c.name for c in proof.checks}
    assert proof.runtime == "torch 2.13.0+cpu, transformers 5.14.1 (in place of TensorRT-LLM 0.12.0)"
    assert "engine build: not verified on hardware" in {n.what for n in proof.not_verified}
    assert all(sample.text for sample in proof.samples)
    # Six layers of each model, and six for each of 8 more tokens.
    assert [e.done for e in events if isinstance(e, Progress)] == list(range(1, 61))
    document = read_device_reference(tmp_path / "reference.json")
    assert [len(p.positions) for p in document.prompts] == [8] * 9
    assert {len(position.top) for p in document.prompts for position in p.positions} == {16}
    answers = [EngineAnswer(token_ids=tuple(p.top[0][0] for p in prompt.positions)) for prompt in document.prompts]
    assert all(c.passed for c in document.compare(answers))
    texts = [EngineAnswer(text=prompt.positions[-1].text) for prompt in document.prompts]
    assert all(c.passed for c in document.compare(texts))
    crossed = document.compare([*answers[1:], answers[0]])
    assert not all(c.passed for c in crossed)


@toolchain
def test_the_reference_has_the_same_bytes_again(prove: Callable[..., Proof], tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        prove(DOCS_LLAMA)
        found.append((tmp_path / "reference.json").read_bytes())
    assert found[0] == found[1]


def rounded_to_int4(tensors: Arrays) -> None:
    """Symmetric, in groups of 128 columns, as a backend's decoder gives it back."""
    for name, values in tensors.items():
        if "proj" in name:
            groups = values.reshape(-1, 128)
            scale = np.abs(groups).max(axis=1, keepdims=True) / np.float32(7)
            tensors[name] = (np.round(groups / scale).clip(-8, 7) * scale).astype(np.float32).reshape(values.shape)


@toolchain
def test_a_healthy_int4_passes_and_costs_something(prove: Callable[..., Proof], tmp_path: Path) -> None:
    candidate = changed_copy(tmp_path / "int4", rounded_to_int4, dtype="F16")
    proof = prove(candidate, "int4_rtn")
    assert failed(proof) == set()
    assert 0.001 < measured(proof, "KL divergence") < 0.1
    assert failed(prove(candidate, "fp16")) >= {"KL divergence"}


def zeroed(tensors: Arrays) -> None:
    tensors["model.layers.0.mlp.down_proj.weight"] *= 0


def exchanged(tensors: Arrays) -> None:
    """Queries' heads in another order, as a wrong packing leaves them."""
    name = "model.layers.3.self_attn.q_proj.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].reshape(4, 64, 256)[::-1]).reshape(256, 256)


def halves_apart(tensors: Arrays) -> None:
    """Rotary pairs interleaved, in all layers."""
    for name, values in tensors.items():
        if "q_proj" in name or "k_proj" in name:
            turned = values.reshape(-1, 2, 32, 256).swapaxes(1, 2)
            tensors[name] = np.ascontiguousarray(turned).reshape(values.shape)


@toolchain
@pytest.mark.parametrize("damage", [zeroed, exchanged, halves_apart])
def test_a_damaged_artifact_fails_the_divergence(
    prove: Callable[..., Proof], tmp_path: Path, damage: Callable[[Arrays], None]
) -> None:
    proof = prove(changed_copy(tmp_path / "damaged", damage), "int4_awq")
    assert "KL divergence" in failed(proof)


@toolchain
def test_a_garbage_source_fails_on_itself(prove: Callable[..., Proof], tmp_path: Path) -> None:
    config = config_of("qwen2")
    garbage = write_checkpoint(tmp_path / "garbage", config, random_tensors(config))
    assert failed(prove(garbage, source=garbage)) == {"perplexity of the unquantized model"}


@toolchain
def test_overflow_fails_the_finite_check_and_leaves_no_reference(prove: Callable[..., Proof], tmp_path: Path) -> None:
    def overflowing(tensors: Arrays) -> None:
        for name in ("gate", "up"):
            tensors[f"model.layers.5.mlp.{name}_proj.weight"] += np.float32(1e38)

    proof = prove(changed_copy(tmp_path / "huge", overflowing))
    assert failed(proof) == {"logits not finite"}
    assert measured(proof, "logits not finite") == 4 * 64
    assert not (tmp_path / "reference.json").exists()


@toolchain
def test_int8_activations_are_compared(prove: Callable[..., Proof], tmp_path: Path) -> None:
    """Steps that fit cost little; steps a hundred times as wide cost the model."""
    candidate = changed_copy(tmp_path / "w8a8", lambda tensors: None)
    found = []
    for width in (0.01, 1.0):
        linears = {
            f"model.layers.{n}.{name}_proj": {"input_scale": 4 * width, "pre_scale_tensor": None}
            for n in range(6)
            for name in ("self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up")
        }
        kv = {str(n): {"k": 4 * width, "v": 4 * width} for n in range(6)}
        (candidate / "edgec-activations.json").write_text(json.dumps({"linears": linears, "kv_cache": kv}))
        found.append(measured(prove(candidate, "int8_sq"), "KL divergence"))
    assert 0 < found[0] < 0.09
    assert found[1] > 0.5


@toolchain
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), r"'model\.layers\.1\.mlp\.up_proj\.weight' is missing"),
        (
            lambda t: t.update({"model.norm.weight": t["model.norm.weight"][:-1]}),
            r"'model\.norm\.weight' has the shape \[255\]; the model's config wants \[256\]",
        ),
        (lambda t: t["model.layers.2.mlp.up_proj.weight"].__setitem__((0, 0), np.nan), "values that are not finite"),
    ],
    ids=["missing", "shape", "nan"],
)
def test_an_artifact_that_is_not_whole_is_refused_by_name(
    prove: Callable[..., Proof], tmp_path: Path, change: Callable[[Arrays], None], message: str
) -> None:
    candidate = changed_copy(tmp_path / "broken", change)
    with pytest.raises(ProofError, match=message) as refused:
        prove(candidate)
    assert str(candidate) in str(refused.value)
    assert str(tmp_path / "logs" / "compare-in-torch.log") in (refused.value.diagnostics[0].hint or "")


@toolchain
def test_a_source_that_is_not_whole_is_the_inputs_fault(prove: Callable[..., Proof], tmp_path: Path) -> None:
    config = config_of("llama")
    tensors = random_tensors(config)
    tensors["model.norm.weight"][0] = np.inf
    source = write_checkpoint(tmp_path / "source", config, tensors)
    with pytest.raises(InputError, match=r"'model\.norm\.weight' has values that are not finite"):
        prove(source, source=source)


def children() -> list[int]:
    """Processes that this one started."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


@toolchain
def test_a_killed_comparison_is_an_error_with_its_log(prove: Callable[..., Proof], tmp_path: Path) -> None:
    def kill_the_script(event: Event) -> None:
        """Ends our own child that runs the script, at its first layer."""
        if isinstance(event, Progress):
            for pid in children():
                if b"compare.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(ToolError, match="SIGKILL, which the kernel does when memory runs out") as failed_run:
        prove(DOCS_LLAMA, report=kill_the_script)
    assert str(tmp_path / "logs" / "compare-in-torch.log") in (failed_run.value.diagnostics[0].hint or "")
    assert not (tmp_path / "reference.json").exists()


@toolchain
@pytest.mark.parametrize("shape", [{"hidden_size": 1024, "intermediate_size": 4096, "vocab_size": 32768,
                                    "num_hidden_layers": 10},
                                   {"hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 2,
                                    "num_attention_heads": 16, "num_key_value_heads": 16}])  # fmt: skip
def test_peak_memory_is_within_what_was_planned(torch_tools: Environment, tmp_path: Path, shape: Any) -> None:
    config = config_of("llama", **shape)
    folder = write_checkpoint(tmp_path / "model", config, random_tensors(config), dtype="BF16")
    settings = Prove(windows=8)
    files = open_local(DOCS_LLAMA).header.files
    tokenizer = PairTokenizer(files)
    comparison: Comparison = compare_pair(
        folder, folder, tokenizer.windows(HELD_OUT, settings, silent, n_ctx=256, n_vocab=config["vocab_size"]),
        tokenizer.prompts(HELD_OUT, None, size=64)[:2], decoder=read_decoder(config), settings=settings,
        environment=torch_tools, logs=tmp_path, report=silent,
    )  # fmt: skip
    assert comparison.divergence.mean_kl == 0
    planned = pair_memory_mib(read_decoder(config), settings)
    assert 0.4 * planned < comparison.peak_mib <= planned


@toolchain
def test_what_needs_no_torch_is_checked_before_it(prove: Callable[..., Proof], tmp_path: Path) -> None:
    other = {"tokenizer.json": (DOCS_LLAMA / "tokenizer.json").read_bytes() + b"\n"}
    wrong = TensorError(name="model.layers.0.mlp.up_proj", type="i4", elements=1, bytes=1, relative_rmse=1.0)
    proof = prove(DOCS_LLAMA, artifact_files=other, tensors=(wrong,), template="{{ raise_exception('no') }}")
    assert failed(proof) == {"tokenizer.json of the artifact", "tensor errors", "chat template"}
    config = config_of("llama", vocab_size=4000)
    tensors = {n: v[:4000] if len(v) == 4096 else v for n, v in random_tensors(config_of("llama")).items()}
    small = write_checkpoint(tmp_path / "small", config, tensors)
    proof = prove(small, source=small)
    assert failed(proof) == {"largest token id"}
    assert proof.runtime == "none"


@toolchain
def test_types_of_what_runs_inside(torch_tools: Environment, tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n[mypy-torch.*,transformers.*,safetensors.*]\nfollow_imports = silent\n")
    arguments = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), "--python-executable",
                 str(torch_tools.python), "--explicit-package-bases"]  # fmt: skip
    files = sorted(path.name for path in INSIDE.glob("*.py"))
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments, *files],
        cwd=INSIDE, env={**os.environ, "MYPYPATH": str(INSIDE)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    assert f"no issues found in {len(files)} source files" in checked.stdout
    assert len(files) > 4


def test_copies_are_what_they_are_copies_of(tmp_path: Path) -> None:
    """The tests' own reading and writing."""
    again = read_tensors(changed_copy(tmp_path, lambda tensors: None))
    assert all(np.array_equal(values, again[name]) for name, values in read_tensors(DOCS_LLAMA).items())
