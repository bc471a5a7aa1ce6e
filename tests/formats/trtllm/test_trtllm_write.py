"""What stands in rank0.safetensors, read by another reader, is what the source says; nothing else is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import decoder_models as models
import numpy as np
import oracle
import pytest
from decoder_models import LLAMA, QWEN2
from written import write

from edgec.errors import InputError
from edgec.events import Event, Progress
from edgec.formats.trtllm.layout import plan_trtllm
from edgec.formats.trtllm.write import write_trtllm
from edgec.quantize.weights import open_weights

RANGES = [(3.5, 2.0), (1.0, 8.0)]


@pytest.mark.parametrize("config", [LLAMA, QWEN2], ids=["llama", "qwen2"])
def test_fp16_is_the_source_bit_for_bit(config: dict[str, object], tmp_path: Path) -> None:
    write(models.plain(tmp_path / "hf", config), "fp16", tmp_path / "out")
    expected = {n: v.astype(np.float32) for n, v in models.plain_tensors(config).items()}
    found = oracle.hugging_face(tmp_path / "out")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_bf16_becomes_fp16(tmp_path: Path) -> None:
    bits = models.plain_tensors(LLAMA)["model.norm.weight"].astype(np.float32).view(np.uint32) >> 16
    checkpoint = models.plain(tmp_path / "hf", LLAMA, **{"model.norm.weight": bits.astype(np.uint16)})
    write(checkpoint, "fp16", tmp_path / "out")
    values = (bits << 16).view(np.float32)
    np.testing.assert_array_equal(oracle.hugging_face(tmp_path / "out")["model.norm.weight"], values.astype(np.float16))


@pytest.mark.parametrize("group", [64, 128])
def test_awq_codes_and_scales(group: int, tmp_path: Path) -> None:
    checkpoint, made = models.awq(tmp_path / "hf", QWEN2, group)
    layout = write(checkpoint, "int4_awq", tmp_path / "out")
    found = oracle.hugging_face(tmp_path / "out")
    for name, linear in made.items():
        np.testing.assert_array_equal(found[f"{name}.weight"], linear.values, err_msg=name)
    tensors = oracle.read_tensors(tmp_path / "out" / "rank0.safetensors")
    assert not [n for n in tensors if n.endswith("prequant_scaling_factor")]
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]
    assert settings["quant_algo"] == "W4A16_AWQ"
    assert (settings["group_size"], settings["pre_quant_scale"]) == (group, False)
    assert layout.bytes_by_type["i4"] == sum(v.codes.size // 2 for v in made.values())


def test_factors_of_some_inputs_become_factors_of_all(tmp_path: Path) -> None:
    """The loader wants the factors of every linear, or of none: ones stand where the source has none."""
    checkpoint, made, factors = models.modelopt_awq(tmp_path / "hf", LLAMA)
    write(checkpoint, "int4_awq", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]["pre_quant_scale"] is True
    tensors = oracle.read_tensors(tmp_path / "out" / "rank0.safetensors")
    for layer in range(2):
        ours, theirs = f"transformer.layers.{layer}", f"model.layers.{layer}"
        stored = {n: tensors[f"{ours}.{n}.prequant_scaling_factor"] for n in (
            "attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj",
        )}  # fmt: skip
        np.testing.assert_array_equal(stored["attention.dense"], factors[f"{theirs}.self_attn.o_proj"])
        np.testing.assert_array_equal(stored["mlp.proj"], factors[f"{theirs}.mlp.down_proj"])
        assert all((stored[n] == 1).all() for n in ("attention.qkv", "mlp.fc", "mlp.gate"))
    found = oracle.hugging_face(tmp_path / "out")
    for name, linear in made.items():
        factor = factors[name].astype(np.float32) if name in factors else np.float32(1)
        np.testing.assert_array_equal(found[f"{name}.weight"], linear.values * factor, err_msg=name)


def test_smoothquant(tmp_path: Path) -> None:
    checkpoint, made, factors = models.smoothquant(tmp_path / "hf", QWEN2)
    write(checkpoint, "int8_sq", tmp_path / "out")
    found = oracle.hugging_face(tmp_path / "out")
    for name, linear in made.items():
        np.testing.assert_array_equal(found[f"{name}.weight"], linear.values, err_msg=name)
    tensors = oracle.read_tensors(tmp_path / "out" / "rank0.safetensors")
    pairs = {"attention.qkv": "self_attn.q_proj", "mlp.gate": "mlp.up_proj", "mlp.proj": "mlp.down_proj"}
    for ours, theirs in pairs.items():
        stored, name = f"transformer.layers.1.{ours}", f"model.layers.1.{theirs}"
        np.testing.assert_array_equal(tensors[f"{stored}.prequant_scaling_factor"], factors[name])
        assert tensors[f"{stored}.activation_scaling_factor"] == np.float32(models.input_scale(name))
        assert tensors[f"{stored}.weights_scaling_factor"].dtype == np.float32


def test_factors_that_differ_within_a_joined_linear(tmp_path: Path) -> None:
    checkpoint, _, factors = models.smoothquant(tmp_path / "hf", LLAMA)
    name = "model.layers.1.self_attn.k_proj"
    info = checkpoint.header.tensors[f"{name}.pre_quant_scale"]
    with (tmp_path / "hf" / "model.safetensors").open("r+b") as file:
        file.seek(info.offset)
        file.write((factors[name] * 2).tobytes())
    with pytest.raises(InputError, match="another one than that of model") as caught:
        write(checkpoint, "int8_sq", tmp_path / "out")
    assert caught.value.diagnostics[0].place == name


@pytest.mark.parametrize(("scheme", "algo"), [("int8_wo", "W8A16"), ("int4_wo", "W4A16")])
def test_weight_only_stores_what_the_build_quantizes(scheme: str, algo: str, tmp_path: Path) -> None:
    layout = write(models.plain(tmp_path / "hf", LLAMA), scheme, tmp_path / "out")
    tensors = oracle.read_tensors(tmp_path / "out" / "rank0.safetensors")
    assert {t.dtype for t in tensors.values()} == {np.dtype(np.float16)}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]["quant_algo"] == algo
    assert layout.engine_bytes < layout.file.size_bytes
    assert any("trtllm-build quantizes them" in note for note in layout.notes)


def test_the_kv_cache_has_one_scale_per_layer(tmp_path: Path) -> None:
    write(models.plain(tmp_path / "hf", LLAMA), "fp16", tmp_path / "out", kv_cache="int8", kv_ranges=RANGES)
    tensors = oracle.read_tensors(tmp_path / "out" / "rank0.safetensors")
    for layer, scale in enumerate((3.5 / 127, 8 / 127)):
        stored = tensors[f"transformer.layers.{layer}.attention.kv_cache_scaling_factor"]
        assert stored.shape == (1,)
        assert stored[0] == np.float32(scale)
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]
    assert (settings["quant_algo"], settings["kv_cache_quant_algo"]) == (None, "INT8")


@pytest.mark.parametrize(
    ("ranges", "message"), [(None, "0 are given"), ([(1, 1)], "1 are given"), ([(1, 1), (0, 0)], "layer 1")]
)
def test_ranges_that_cannot_be(ranges: list[tuple[float, float]] | None, message: str, tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", LLAMA)
    with pytest.raises(InputError, match=message):
        write(checkpoint, "fp16", tmp_path / "out", kv_cache="int8", kv_ranges=ranges)


def test_a_tied_output_layer_by_version(tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", QWEN2)
    for version, stands in (("v0.12.0-jetson", False), ("0.16.0", True), ("1.2.1", False)):
        out = tmp_path / version
        layout = write(checkpoint, "fp16", out, version=version)
        tensors = oracle.read_tensors(out / "rank0.safetensors")
        config = json.loads((out / "config.json").read_text())
        assert ("lm_head.weight" in tensors) is stands
        assert config.get("share_embedding_table") is (True if version.startswith("v0.12") else None)
        assert layout.engine_bytes == plan_trtllm(checkpoint.header, scheme="fp16", version="1.2.1").engine_bytes
        if stands:
            np.testing.assert_array_equal(tensors["lm_head.weight"], tensors["transformer.vocab_embedding.weight"])


def test_bytes_do_not_depend_on_threads(tmp_path: Path) -> None:
    checkpoint, _ = models.awq(tmp_path / "hf", LLAMA)
    for threads in (1, 3):
        write(checkpoint, "int4_awq", tmp_path / str(threads), threads=threads)
    for name in ("config.json", "rank0.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_planned_sizes_are_exact_and_progress_ends_at_the_total(tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", LLAMA)
    layout = plan_trtllm(checkpoint.header, scheme="fp16", version="0.12.0")
    events: list[Event] = []
    with open_weights(checkpoint) as weights:
        written = write_trtllm(weights, layout, tmp_path, report=events.append, action="here")
    assert written.size_bytes == layout.size_bytes == sum((tmp_path / n).stat().st_size for n in written.files)
    assert sum(layout.bytes_by_type.values()) == sum(t.spec.nbytes for t in layout.tensors)
    progress = [e for e in events if isinstance(e, Progress)]
    assert max(e.done for e in progress) == progress[0].total
    assert {(e.action, e.unit) for e in progress} == {("here", "bytes")}


def test_a_value_beyond_fp16_leaves_no_checkpoint(tmp_path: Path) -> None:
    values = models.plain_tensors(LLAMA)["lm_head.weight"].astype(np.float32)
    values[7, 9] = 70000
    checkpoint = models.plain(tmp_path / "hf", LLAMA, **{"lm_head.weight": values})
    with pytest.raises(InputError, match="70000 does not fit FP16") as caught:
        write(checkpoint, "fp16", tmp_path / "out")
    assert caught.value.diagnostics[0].place == "lm_head.weight"
    assert not (tmp_path / "out" / "rank0.safetensors").exists()
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_remains_of_a_killed_run_are_written_over(tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", LLAMA)
    write(checkpoint, "fp16", tmp_path / "clean")
    out = tmp_path / "out"
    out.mkdir()
    (out / "rank0.safetensors.partial").write_bytes(b"\xff" * 5_000_000)
    layout = plan_trtllm(checkpoint.header, scheme="fp16", version="0.12.0")
    with open_weights(checkpoint) as weights:
        write_trtllm(weights, layout, out, report=lambda _: None, action="test")
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "rank0.safetensors"]
    assert (out / "rank0.safetensors").read_bytes() == (tmp_path / "clean" / "rank0.safetensors").read_bytes()
