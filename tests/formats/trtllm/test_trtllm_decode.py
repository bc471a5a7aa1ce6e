"""A checkpoint decoded from its own bytes is what another reader finds in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import decoder_models as models
import numpy as np
import oracle
import pytest
from decoder_models import LLAMA, QWEN2
from written import write

from edgec.errors import ProofError
from edgec.formats.trtllm.decode import ACTIVATIONS_FILE, decode_checkpoint
from edgec.source.local import open_local
from edgec.source.model import Checkpoint


def decode(checkpoint: Checkpoint, scheme: str, tmp_path: Path, **settings: Any) -> dict[str, np.ndarray]:
    write(checkpoint, scheme, tmp_path / "out", **settings)
    (tmp_path / "plain").mkdir()
    decode_checkpoint(tmp_path / "out", checkpoint.header.config, tmp_path / "plain")
    open_local(tmp_path / "plain")
    return oracle.read_tensors(tmp_path / "plain" / "model.safetensors")


@pytest.mark.parametrize("scheme", ["fp16", "int8_wo", "int4_wo"])
@pytest.mark.parametrize("config", [LLAMA, QWEN2], ids=["llama", "qwen2"])
def test_plain_sources(scheme: str, config: dict[str, Any], tmp_path: Path) -> None:
    found = decode(models.plain(tmp_path / "hf", config), scheme, tmp_path)
    expected = oracle.hugging_face(tmp_path / "out")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name], values.astype(np.float16), err_msg=name)
    assert not (tmp_path / "plain" / ACTIVATIONS_FILE).exists()


def test_awq_with_factors_folded(tmp_path: Path) -> None:
    checkpoint, _, _ = models.modelopt_awq(tmp_path / "hf", QWEN2)
    found = decode(checkpoint, "int4_awq", tmp_path)
    for name, values in oracle.hugging_face(tmp_path / "out").items():
        np.testing.assert_allclose(found[name].astype(np.float32), values, rtol=2e-3, atol=1e-7, err_msg=name)
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float16"


def test_smoothquant_and_an_int8_cache(tmp_path: Path) -> None:
    checkpoint, _, factors = models.smoothquant(tmp_path / "hf", LLAMA)
    found = decode(checkpoint, "int8_sq", tmp_path, kv_cache="int8", kv_ranges=[(127, 1), (1, 254)])
    for name, values in oracle.hugging_face(tmp_path / "out").items():
        np.testing.assert_array_equal(found[name], values.astype(np.float16), err_msg=name)
    activations = json.loads((tmp_path / "plain" / ACTIVATIONS_FILE).read_text())
    assert activations["kv_cache"] == {"0": {"k": 1.0, "v": 1.0}, "1": {"k": 2.0, "v": 2.0}}
    assert activations["linears"].keys() == factors.keys()
    for name, linear in activations["linears"].items():
        assert linear == {"input_scale": models.input_scale(name), "pre_scale_tensor": f"{name}.pre_quant_scale"}
        np.testing.assert_array_equal(found[f"{name}.pre_quant_scale"], factors[name])


def test_large_matrices_are_decoded_in_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, _ = models.awq(tmp_path / "hf", LLAMA)
    whole = decode(checkpoint, "int4_awq", tmp_path)
    for module in ("fill", "decode", "check"):
        monkeypatch.setattr(f"edgec.formats.trtllm.{module}.SLAB_ELEMENTS", 5000)
    (tmp_path / "again").mkdir()
    found = decode(checkpoint, "int4_awq", tmp_path / "again")
    assert found.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("damage", ["config", "cut", "missing", "heads"])
def test_an_artifact_that_is_not_whole(damage: str, tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", LLAMA)
    write(checkpoint, "fp16", tmp_path / "out")
    weights, config = tmp_path / "out" / "rank0.safetensors", tmp_path / "out" / "config.json"
    if damage == "config":
        config.write_text("{")
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "missing":
        weights.write_bytes(weights.read_bytes().replace(b"transformer.ln_f.weight", b"transformer.ln_g.weight"))
    else:
        config.write_text(config.read_text().replace('"num_key_value_heads": 2', '"num_key_value_heads": 4'))
    with pytest.raises(ProofError) as caught:
        decode_checkpoint(tmp_path / "out", checkpoint.header.config, tmp_path)
    assert caught.value.diagnostics[0].hint
