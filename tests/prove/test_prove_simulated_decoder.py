"""The script that runs RKLLM's toolkit, and the proof of what a simulation gives: on docs-llama, in real torch.

Rockchip's toolkit is not here. What stands in its place has its documented interface, fails in every way that we must
notice, and gives the logits of a real model where logits are asked for; it compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proof_models import DOCS_LLAMA

from edgec.errors import ProofError, ToolError
from edgec.events import silent
from edgec.formats.rkllm.run import BUILD_SCRIPT
from edgec.prove.decoder_pair.simulated import SimulatedDecoder, prove_simulated_decoder, simulated_windows
from edgec.prove.model import Proof
from edgec.recipe.model import Prove
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, find_toolchain, install, run_json

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("transformers")]
SETTINGS = Prove(windows=2, window_tokens=64)
# `rkllm.api` as Rockchip's document of 1.3.0 describes it.
API = """\
import torch
from transformers import AutoModelForCausalLM

class RKLLM:
    def load_huggingface(self, model, model_lora, device, dtype, custom_config, load_weight):
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        return {load}
    def build(self, do_quantization, optimization_level, quantized_dtype, quantized_algorithm, target_platform,
              num_npu_core, extra_qparams, dataset, hybrid_rate, max_context):
        return {build}
    def get_logits(self, inputs):
        with torch.inference_mode():
            return {logits}
    def export_rkllm(self, export_path):
        open(export_path, "wb").write(b"no model")
        return {export}
"""
SCRIPT = """\
import sys
sys.path[:0] = [{here!r}, {inside!r}]
import importlib.metadata as metadata
had = metadata.version
metadata.version = lambda name: "1.3.0" if name == "rkllm-toolkit" else had(name)
from build_rkllm import run
"""


@pytest.fixture(scope="session")
def torch_tools(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain in which decoders are compared."""
    log = tmp_path_factory.mktemp("logs") / "install.log"
    return install(find_toolchain("transformers"), toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture
def subject(tmp_path: Path) -> SimulatedDecoder:
    text = (DOCS_LLAMA / "held_out.txt").read_text()
    return SimulatedDecoder("rkllm-w8a8", open_local(DOCS_LLAMA), "w8a8", SETTINGS, text, False, tmp_path / "logs")


@pytest.fixture
def simulate(torch_tools: Environment, subject: SimulatedDecoder, tmp_path: Path) -> Callable[..., Path]:
    """Runs edgec's script on an interface that answers as told."""

    def run(**answers: Any) -> Path:
        told = {"load": 0, "build": 0, "export": 0, "logits": 'self.model(inputs["input_ids"]).logits', **answers}
        (tmp_path / "rkllm").mkdir(exist_ok=True)
        (tmp_path / "rkllm" / "api.py").write_text(API.format(**told))
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(here=str(tmp_path), inside=str(BUILD_SCRIPT.parent)))
        held_out = simulated_windows(subject, silent)
        request = {
            "checkpoint": str(DOCS_LLAMA), "scratch": str(tmp_path), "dataset": "none", "out": str(tmp_path / "out"),
            "logits": str(tmp_path / "simulated.npy"), "scheme": "w8a8", "platform": "rk3588", "npu_cores": 3,
            "max_context": 64, "windows": [list(w) for w in held_out.windows], "scored_from": held_out.scored_from,
            "vocabulary": subject.source.header.config["vocab_size"], "threads": 1,
        }  # fmt: skip
        run_json(torch_tools, script, request, timeout_s=300, log=tmp_path / "build.log", memory_mib=64)
        return tmp_path / "simulated.npy"

    return run


def proven(subject: SimulatedDecoder, logits: Path, environment: Environment) -> Proof:
    return prove_simulated_decoder(subject, logits, "1.3.0", environment, silent)


def test_a_simulation_that_gives_the_model_itself_agrees_and_a_worse_one_less(
    simulate: Callable[..., Path], subject: SimulatedDecoder, torch_tools: Environment
) -> None:
    proof = proven(subject, simulate(), torch_tools)
    found = {check.name: check.measured for check in proof.checks}
    # What float16 loses.
    assert found["KL divergence"] < 1e-5
    assert found["top-1 agreement"] > 0.98
    assert found["perplexity ratio"] == pytest.approx(1, abs=1e-3)
    assert proof.passed
    assert proof.runtime == "RKLLM 1.3.0, its simulation of the RK3588"
    assert "not verified on hardware" in {n.what: n.why for n in proof.not_verified}["the model on the NPU"]

    rough = proven(subject, simulate(logits='(self.model(inputs["input_ids"]).logits / 2).round() * 2'), torch_tools)
    worse = {check.name: check.measured for check in rough.checks}
    assert worse["KL divergence"] > 100 * found["KL divergence"]
    assert not rough.passed


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"load": -1}, "RKLLM: load_huggingface answered -1"),
        ({"build": None}, "RKLLM: build answered None"),
        ({"logits": "None"}, "RKLLM: get_logits gave nothing"),
        ({"logits": "torch.zeros(1, 3, 7)"}, r"RKLLM: get_logits gave \(1, 3, 7\)"),
        ({"export": -1}, "RKLLM: export_rkllm answered -1"),
    ],
)
def test_every_answer_of_the_toolkit_counts(
    simulate: Callable[..., Path], answers: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ToolError, match=expected) as caught:
        simulate(**answers)
    assert "build.log" in (caught.value.diagnostics[0].hint or "")


def test_logits_that_are_not_finite_or_of_another_shape_are_no_proof(
    simulate: Callable[..., Path], subject: SimulatedDecoder, torch_tools: Environment, tmp_path: Path
) -> None:
    broken = proven(subject, simulate(logits='self.model(inputs["input_ids"]).logits * float("nan")'), torch_tools)
    assert not broken.passed
    assert {c.name: c.measured for c in broken.checks}["logits not finite"] == 64
    data = (tmp_path / "simulated.npy").read_bytes()
    (tmp_path / "simulated.npy").write_bytes(data.replace(b"(64, ", b"(32, "))
    with pytest.raises(ProofError, match="were asked for"):
        proven(subject, tmp_path / "simulated.npy", torch_tools)
