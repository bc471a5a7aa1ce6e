"""The real exporter on small models: what it makes is what was planned, whole, and the same every time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edgellm_checkpoints import (
    CONFIGS,
    LLAMA,
    QUANTIZATION_CONFIG,
    Exported,
    as_awq,
    docs_llama_tensors,
    int4_codes,
    is_linear,
    make_checkpoint,
    random_tensors,
    write_checkpoint,
)

from edgec.documents.canonical import sha256_file
from edgec.errors import EdgecError, InputError
from edgec.events import Progress, silent
from edgec.formats.edgellm.compare import compare_weights
from edgec.formats.edgellm.decode import decode_checkpoint
from edgec.formats.edgellm.export import EXPORTER_SCRIPT, export_edgellm
from edgec.formats.edgellm.layout import plan_edgellm
from edgec.formats.edgellm.staging import stage
from edgec.formats.edgellm.versions import version_for
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, run_json

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("edgellm")]

CASES = [
    ("docs-llama", "fp16"),
    ("docs-llama", "int4_awq"),
    ("docs-llama", "int8_sq"),
    ("qwen2", "fp16"),
    ("qwen2", "int4_awq"),
    ("qwen2", "int8_sq"),
    ("llama", "int4_gptq"),
    ("qwen3", "int4_awq"),
]
ExportOnce = Callable[[str, str], Exported]


@pytest.mark.parametrize(("model", "scheme"), CASES)
def test_an_export_is_what_was_planned(export_once: ExportOnce, model: str, scheme: str) -> None:
    done = export_once(model, scheme)
    layout, result = done.layout, done.result
    assert sorted(p.name for p in done.folder.iterdir()) == sorted(result.files) == sorted(f.name for f in layout.files)
    sizes = {name: (done.folder / name).stat().st_size for name in result.files}
    planned = {f.name: f.size_bytes for f in layout.files}
    assert sizes["embedding.safetensors"] == planned["embedding.safetensors"]
    # Weights to the byte, but for equal vectors, which are stored once, for small constants, and for GPTQ's orders.
    weights = layout.weight_bytes - layout.shape.vocabulary * layout.shape.hidden * 2
    assert weights - 30_000 < sizes["model.onnx.data"] < weights + 10_000
    assert sizes["model.onnx.data"] <= planned["model.onnx.data"]
    assert planned["model.onnx"] / 5 < sizes["model.onnx"] <= planned["model.onnx"]
    assert result.versions["edgellm"] == result.structure.edgellm_version == layout.version.number
    assert layout.memory_mib / 2 < result.anonymous_mib < layout.memory_mib
    assert result.anonymous_mib < result.peak_mib


@pytest.mark.parametrize(("model", "scheme"), CASES)
def test_its_operations_are_those_of_the_scheme(export_once: ExportOnce, model: str, scheme: str) -> None:
    done = export_once(model, scheme)
    found, layers = done.result.structure.operations, done.layout.shape.layers
    assert found["trt_edgellm::AttentionPlugin"] == layers
    assert found.get("trt_edgellm::Int4GroupwiseGemmPluginV2", 0) == (7 * layers if scheme.startswith("int4") else 0)
    assert found.get("QuantizeLinear", 0) == (4 * layers if scheme == "int8_sq" else 0)
    # q, k and v are one multiplication when they are not quantized; the output layer never is.
    assert found.get("MatMul", 0) == {"fp16": 5 * layers, "int8_sq": 7 * layers}.get(scheme, 0)
    assert found["Gemm"] == 1


@pytest.mark.parametrize(("model", "scheme"), CASES)
def test_no_weight_was_changed(export_once: ExportOnce, model: str, scheme: str) -> None:
    tensors = {t.name: t for t in export_once(model, scheme).result.tensors}
    shape = export_once(model, scheme).layout.shape
    assert set(tensors) == {
        "model.embed_tokens.weight", "lm_head", *(linear.name for linear in shape.linears()), *shape.vectors(),
    }  # fmt: skip
    assert all(t.different == 0 and t.max_abs < 1e-6 and t.values > 0 for t in tensors.values())


@pytest.mark.parametrize(("model", "scheme"), CASES)
def test_the_decoded_checkpoint_is_the_source(export_once: ExportOnce, tmp_path: Path, model: str, scheme: str) -> None:
    """Against the arrays that the test itself quantized; nothing of edgec's readers is in between."""
    done = export_once(model, scheme)
    decode_checkpoint(done.folder, done.checkpoint.header.config, tmp_path)
    decoded = read_arrays(tmp_path / "model.safetensors")
    stored = read_arrays(done.checkpoint.root / "model.safetensors")
    source = docs_llama_tensors() if model == "docs-llama" else random_tensors(CONFIGS[model])
    for name, weight in source.items():
        if not is_linear(name) or scheme == "fp16":
            assert np.array_equal(decoded[name], weight), name
        elif scheme == "int8_sq":
            scale = stored[name.removesuffix("weight") + "weight_scale"]
            expected = stored[name].astype(np.float32) * scale[:, None].astype(np.float32)
            assert np.array_equal(decoded[name], expected.astype(np.float16)), name
        else:
            codes, scales = int4_codes(weight)
            expected = codes.astype(np.float32) * np.repeat(scales, 128, axis=1).astype(np.float32)
            assert np.array_equal(decoded[name], expected.astype(np.float16)), name
    assert np.array_equal(decoded["lm_head.weight"], source.get("lm_head.weight", source["model.embed_tokens.weight"]))
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"] is False
    assert (tmp_path / "edgec-activations.json").exists() == (scheme == "int8_sq")


@pytest.mark.parametrize("model", ["docs-llama", "qwen2"])
def test_how_int8_inputs_are_rounded_is_decoded(export_once: ExportOnce, tmp_path: Path, model: str) -> None:
    done = export_once(model, "int8_sq")
    decode_checkpoint(done.folder, done.checkpoint.header.config, tmp_path)
    decoded = read_arrays(tmp_path / "model.safetensors")
    stored = read_arrays(done.checkpoint.root / "model.safetensors")
    activations = json.loads((tmp_path / "edgec-activations.json").read_text())
    linears = activations["linears"]
    assert activations["kv_cache"] == {}
    assert set(linears) == {linear.name for linear in done.layout.shape.linears()}
    for name, entry in linears.items():
        assert np.float32(entry["input_scale"]) == stored[f"{name}.input_scale"]
        assert entry["pre_scale_tensor"] == f"{name}.pre_quant_scale"
        assert np.array_equal(decoded[entry["pre_scale_tensor"]], stored[f"{name}.pre_quant_scale"])


def test_smoothing_of_an_int4_layer_is_in_its_decoded_weights(exporter: Environment, tmp_path: Path) -> None:
    """As modelopt writes it: the kernel's input is multiplied, and its weights were made for that."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "qwen2", "modelopt_awq")
    layout = plan_edgellm(checkpoint.header, "int4_awq", version_for("7.2"))
    export_edgellm(exporter, checkpoint, layout, tmp_path / "out", report=silent, log=tmp_path / "log")
    (tmp_path / "decoded").mkdir()
    decode_checkpoint(tmp_path / "out", checkpoint.header.config, tmp_path / "decoded")
    decoded = read_arrays(tmp_path / "decoded" / "model.safetensors")
    stored = read_arrays(checkpoint.root / "model.safetensors")
    for name, weight in random_tensors(CONFIGS["qwen2"]).items():
        if is_linear(name):
            codes, scales = int4_codes(weight)
            smooth = stored.get(name.replace(".weight", ".pre_quant_scale"), np.ones(weight.shape[1], np.float16))
            expected = codes.astype(np.float32) * np.repeat(scales, 128, axis=1).astype(np.float32)
            assert np.array_equal(decoded[name], (expected * smooth.astype(np.float32)).astype(np.float16)), name
    assert not (tmp_path / "decoded" / "edgec-activations.json").exists()


def test_the_same_checkpoint_gives_the_same_bytes(
    export_once: ExportOnce, exporter: Environment, tmp_path: Path
) -> None:
    first = export_once("qwen2", "int4_awq")
    checkpoint = make_checkpoint(tmp_path / "elsewhere", "qwen2", "int4_awq")
    result = export_edgellm(exporter, checkpoint, first.layout, tmp_path / "out", report=silent, log=tmp_path / "log")
    digests = {name: sha256_file(tmp_path / "out" / name) for name in result.files}
    assert digests == {name: sha256_file(first.folder / name) for name in first.result.files}
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    assert not [word for word in (b"site-packages", b".py", str(tmp_path).encode()) if word in content]


def test_the_person_sees_how_far_it_is(export_once: ExportOnce) -> None:
    events = [e for e in export_once("qwen2", "fp16").events if isinstance(e, Progress)]
    assert [e.done for e in events if e.unit == "steps"] == [0, 1, 2]
    tensors = [e for e in events if e.action == "edgellm"]
    assert [e.done for e in tensors] == list(range(1, tensors[0].total + 1))


def test_an_asymmetric_checkpoint_is_refused_before_the_export(exporter: Environment, tmp_path: Path) -> None:
    checkpoint = open_local(asymmetric(tmp_path / "checkpoint"))
    layout = plan_edgellm(checkpoint.header, "int4_awq", version_for("7.2"))
    with pytest.raises(InputError, match="quantized asymmetrically"):
        export_edgellm(exporter, checkpoint, layout, tmp_path / "out", report=silent, log=tmp_path / "log")
    assert not (tmp_path / "log").exists()
    assert not (tmp_path / "out").exists()


def test_the_exporter_damages_an_asymmetric_checkpoint_and_the_comparison_sees_it(
    exporter: Environment, tmp_path: Path
) -> None:
    """Edge-LLM 0.11.0 cuts codes off without a word. When this fails, the refusal can go."""
    checkpoint = open_local(asymmetric(tmp_path / "checkpoint"))
    layout = plan_edgellm(checkpoint.header, "int4_awq", version_for("7.2"))
    staged, made = tmp_path / "staged", tmp_path / "made"
    stage(checkpoint, layout, staged)
    made.mkdir()
    request = {"checkpoint": str(staged), "out": str(made), "version": "0.11.0"}
    run_json(exporter, EXPORTER_SCRIPT, request, timeout_s=600, log=tmp_path / "log")
    with pytest.raises(EdgecError, match="zero points"):
        compare_weights(made, layout.shape, checkpoint, report=silent, action="compare")


def asymmetric(folder: Path) -> Path:
    """A checkpoint whose zero points are 5, as AutoAWQ writes them for weights that are not centred."""
    tensors = as_awq(random_tensors(LLAMA), zeros=5)
    settings = {**QUANTIZATION_CONFIG["int4_awq"], "zero_point": True}
    return write_checkpoint(folder, {**LLAMA, "quantization_config": settings}, tensors)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file."""
    kinds = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "I8": "i1", "U8": "u1", "I32": "<i4"}
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    body = raw[8 + length :]
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }


@pytest.mark.reference
def test_transformers_computes_the_same_logits_from_the_decoded_checkpoint(
    export_once: ExportOnce, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    done = export_once("docs-llama", "fp16")
    decode_checkpoint(done.folder, done.checkpoint.header.config, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(done.checkpoint.root / name, tmp_path / name)
    ids = torch.arange(3, 67)[None]
    logits = []
    for folder in (done.checkpoint.root, tmp_path):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.inference_mode():
            logits.append(model(ids).logits)
    # The smallest numbers of bfloat16 are rounded in float16.
    assert torch.allclose(*logits, atol=1e-4, rtol=0)
