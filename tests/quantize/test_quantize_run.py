"""Quantizing whole checkpoints: what is written, read back; killed and resumed; bad weights and texts refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_models import write_checkpoint
from small_models import CALIBRATION, DOCS_LLAMA, FAMILIES, GROUP, as_bits, config_of, tensors_of, write_small

from edgec.errors import InputError
from edgec.events import Event, Progress, silent
from edgec.quantize.layout import plan_quantized
from edgec.quantize.run import QuantizedCheckpoint, quantize_checkpoint
from edgec.quantize.settings import Method, QuantizeSettings
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local
from edgec.source.model import Checkpoint

METHODS: tuple[Method, ...] = ("rtn", "awq", "gptq", "smoothquant")


def settings(method: Method) -> QuantizeSettings:
    return QuantizeSettings(method, group_size=GROUP, max_tokens=2048, sequence_tokens=64)


def quantize(source: Checkpoint, out: Path, method: Method, text: str = CALIBRATION) -> QuantizedCheckpoint:
    out.mkdir(exist_ok=True)
    layout = plan_quantized(source.header, settings(method))
    result = quantize_checkpoint(source, layout, text, out, report=silent, action="quantize")
    assert (out / "model.safetensors").stat().st_size == layout.size_bytes
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_opens_and_is_near_its_source(tmp_path: Path, family: str, method: Method) -> None:
    source = write_small(tmp_path / "source", family)
    result = quantize(source, tmp_path / "out", method)
    assert sorted(result.files) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert "tokenizer.json" in result.files
    made = open_local(tmp_path / "out")
    assert made.header.quantization is not None
    assert made.header.quantization.symmetric
    assert len(result.errors) == 21
    most = {"rtn": 0.16, "awq": 0.16, "gptq": 0.25, "smoothquant": 0.03}[method]
    assert all(0 < e.relative_rmse < most for e in result.errors)
    with open_weights(made) as weights:
        for name, info in weights.linears.items():
            if name == "lm_head":
                continue
            assert info.bits == (8 if method == "smoothquant" else 4)
            codes = weights.codes(name, 0, info.out_features)
            # Codes use their range, and the scales are those that were counted with.
            assert codes.min() < -5
            assert codes.max() > 5
            assert np.isfinite(weights.rows(f"{name}.weight", 0, info.out_features)).all()


def test_the_documents_say_what_readers_ask(tmp_path: Path) -> None:
    source = write_small(tmp_path / "source")
    said = {}
    for method in METHODS:
        quantize(source, tmp_path / method, method)
        config = json.loads((tmp_path / method / "config.json").read_text())
        said[method] = config["quantization_config"]
        assert config["rope_scaling"]["factor"] == 8.0
        assert config["torch_dtype"] == "float16"
    assert said["awq"]["quant_method"] == said["rtn"]["quant_method"] == "awq"
    assert said["awq"]["version"] == "gemm"
    assert (said["gptq"]["desc_act"], said["gptq"]["sym"], said["gptq"]["checkpoint_format"]) == (False, True, "gptq")
    assert said["smoothquant"]["quant_algo"] == "W8A8_SQ_PER_CHANNEL"
    sidecar = json.loads((tmp_path / "smoothquant" / "hf_quant_config.json").read_text())
    assert sidecar["quantization"]["quant_algo"] == "W8A8_SQ_PER_CHANNEL"


def test_rtn_is_the_nearest_code_of_each_weight(tmp_path: Path) -> None:
    source = write_small(tmp_path / "source")
    quantize(source, tmp_path / "out", "rtn")
    name = "model.layers.1.mlp.down_proj"
    with open_weights(source) as before, open_weights(open_local(tmp_path / "out")) as after:
        values, codes = before.rows(f"{name}.weight", 0, 64), after.codes(name, 0, 64)
        scales = after.scales(name, 0, 64)
        grouped = values.reshape(64, -1, GROUP)
        expected = (np.abs(grouped).max(-1) / np.float32(7)).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(scales, expected)
        np.testing.assert_array_equal(
            codes.reshape(grouped.shape), np.clip(np.rint(grouped / scales[:, :, None]), -8, 7)
        )


@pytest.mark.parametrize("method", ["awq", "smoothquant"])
def test_scales_are_folded_into_what_makes_the_inputs(tmp_path: Path, method: Method) -> None:
    """Norm times weight, up times down, and value times output stay what they were, but for rounding."""
    source = write_small(tmp_path / "source", "Qwen2ForCausalLM")
    quantize(source, tmp_path / "out", method)
    prefix = "model.layers.0."
    with open_weights(source) as before, open_weights(open_local(tmp_path / "out")) as after:
        pairs = {}
        for which, weights in (("before", before), ("after", after)):
            norm = weights.vector(f"{prefix}input_layernorm.weight")
            bias = weights.vector(f"{prefix}self_attn.v_proj.bias")
            values = weights.rows(f"{prefix}self_attn.v_proj.weight", 0, 32) * norm
            output = weights.rows(f"{prefix}self_attn.o_proj.weight", 0, 64).reshape(64, 2, 2, 16)
            pairs[which] = (
                np.einsum("ohrd,hdi->oi", output, values.reshape(2, 16, 64)),
                np.einsum("ohrd,hd->o", output, bias.reshape(2, 16)),
            )
        assert not np.array_equal(
            before.vector(f"{prefix}input_layernorm.weight"), after.vector(f"{prefix}input_layernorm.weight")
        )
        for was, now in zip(pairs["before"], pairs["after"], strict=True):
            assert np.linalg.norm(was - now) / np.linalg.norm(was) < (0.25 if method == "awq" else 0.03)


def test_awq_and_gptq_are_nearer_than_rtn_in_what_a_layer_computes(tmp_path: Path) -> None:
    """The first layer's query outputs on random inputs as loud as its norm makes them."""
    source = write_small(tmp_path / "source")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4096, 64)).astype(np.float32)
    errors = {}
    name = "model.layers.0.self_attn.q_proj.weight"
    with open_weights(source) as weights:
        norm = weights.vector("model.layers.0.input_layernorm.weight")
        expected = (x * norm) @ weights.rows(name, 0, 64).T
    for method in ("rtn", "awq", "gptq"):
        quantize(source, tmp_path / method, method)
        with open_weights(open_local(tmp_path / method)) as weights:
            norm = weights.vector("model.layers.0.input_layernorm.weight")
            errors[method] = float(np.mean(((x * norm) @ weights.rows(name, 0, 64).T - expected) ** 2))
    assert errors["awq"] < 0.8 * errors["rtn"]
    assert errors["gptq"] < 0.8 * errors["rtn"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from edgec.events import Progress
from edgec.quantize.layout import plan_quantized
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import QuantizeSettings
from edgec.source.local import open_local

def report(event):
    if isinstance(event, Progress) and event.done == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

source = open_local(Path(sys.argv[1]))
settings = QuantizeSettings(sys.argv[3], group_size=32, max_tokens=2048, sequence_tokens=64)
quantize_checkpoint(source, plan_quantized(source.header, settings), Path(sys.argv[5]).read_text(), Path(sys.argv[2]),
                    report=report, action="quantize")
"""


@pytest.mark.parametrize(("method", "layer"), [("rtn", 2), ("awq", 1), ("gptq", 2), ("smoothquant", 2)])
def test_a_killed_run_goes_on_at_its_layer_and_makes_the_same_bytes(tmp_path: Path, method: Method, layer: int) -> None:
    source = write_small(tmp_path / "source")
    text = tmp_path / "text"
    text.write_text(CALIBRATION)
    quantize(source, tmp_path / "whole", method)
    (tmp_path / "killed").mkdir()
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "source"), str(tmp_path / "killed"), method, str(layer)]
    done = subprocess.run([*command, str(text)], check=False)
    assert done.returncode == -signal.SIGKILL
    begun: list[int] = []

    def report(event: Event, /) -> None:
        if isinstance(event, Progress):
            begun.append(event.done)

    layout = plan_quantized(source.header, settings(method))
    quantize_checkpoint(source, layout, CALIBRATION, tmp_path / "killed", report=report, action="quantize")
    assert begun == list(range(layer, 4))
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_a_journal_that_is_not_true_is_not_believed(tmp_path: Path) -> None:
    source = write_small(tmp_path / "source")
    text = tmp_path / "text"
    text.write_text(CALIBRATION)
    quantize(source, tmp_path / "whole", "gptq")
    out = tmp_path / "killed"
    out.mkdir()
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "source"), str(out), "gptq", "2", str(text)]
    subprocess.run(command, check=False)
    with (out / "model.safetensors").open("r+b") as file:
        file.seek(plan_quantized(source.header, settings("gptq")).file.offsets["model.layers.1.mlp.up_proj.qweight"])
        file.write(b"\1\2\3\4")
    quantize(source, out, "gptq")
    assert digests(out) == digests(tmp_path / "whole")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("text", ["", "short", "word " * 300])
def test_a_text_that_is_too_short(tmp_path: Path, text: str) -> None:
    source = write_small(tmp_path / "source")
    with pytest.raises(InputError, match="the calibration text makes") as caught:
        quantize(source, tmp_path / "out", "awq", text)
    assert caught.value.diagnostics[0].hint


def test_a_tokenizer_that_is_missing_or_none(tmp_path: Path) -> None:
    source = write_small(tmp_path / "source")
    for files, said in (({}, "tokenizer.json is missing"), ({"tokenizer.json": b"{}"}, "is not a tokenizer")):
        changed = dataclasses.replace(source, header=dataclasses.replace(source.header, files=files))
        with pytest.raises(InputError, match=said):
            quantize(changed, tmp_path / "out", "awq")


@pytest.mark.parametrize(("tensor", "value"), [("mlp.up_proj.weight", np.nan), ("input_layernorm.weight", np.inf)])
def test_weights_that_are_no_numbers(tmp_path: Path, tensor: str, value: float) -> None:
    config = config_of("LlamaForCausalLM")
    tensors = tensors_of(config)
    tensors[f"model.layers.1.{tensor}"].reshape(-1)[5] = as_bits(np.array([value]))[0]
    tokenizer: dict[str, Any] = {"tokenizer__json": (DOCS_LLAMA / "tokenizer.json").read_text()}
    source = write_checkpoint(tmp_path / "source", tensors, config, **tokenizer)
    with pytest.raises(InputError, match=rf"model\.layers\.1\.{tensor}'.*the weight at index 5"):
        quantize(source, tmp_path / "out", "rtn")


def test_weights_that_float16_cannot_hold(tmp_path: Path) -> None:
    config = config_of("LlamaForCausalLM")
    tensors = tensors_of(config)
    tensors["model.norm.weight"][3] = as_bits(np.array([1e6]))[0]
    tokenizer: dict[str, Any] = {"tokenizer__json": (DOCS_LLAMA / "tokenizer.json").read_text()}
    source = write_checkpoint(tmp_path / "source", tensors, config, **tokenizer)
    with pytest.raises(InputError, match="float16 ends at 65504"):
        quantize(source, tmp_path / "out", "rtn")


def test_the_number_of_cores_changes_no_byte(tmp_path: Path) -> None:
    source = write_small(tmp_path / "source")
    quantize(source, tmp_path / "all", "gptq")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        quantize(source, tmp_path / "one", "gptq")
    finally:
        os.sched_setaffinity(0, cores)
    assert digests(tmp_path / "one") == digests(tmp_path / "all")
