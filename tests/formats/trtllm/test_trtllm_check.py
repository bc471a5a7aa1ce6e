"""Every tensor against the source; damage is found wherever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import decoder_models as models
import numpy as np
import pytest
from decoder_models import LLAMA, QWEN2
from written import write

from edgec.errors import ProofError
from edgec.formats.trtllm.check import TensorDifference, check_against_source
from edgec.formats.trtllm.layout import TrtLlmLayout
from edgec.quantize.weights import open_weights
from edgec.source.model import Checkpoint


def check(checkpoint: Checkpoint, layout: TrtLlmLayout, folder: Path) -> dict[str, TensorDifference]:
    with open_weights(checkpoint) as weights:
        return {d.name: d for d in check_against_source(weights, layout, folder)}


@pytest.mark.parametrize(
    ("scheme", "least", "most"), [("fp16", 0, 0), ("int8_wo", 0.003, 0.02), ("int4_wo", 0.05, 0.3)]
)
def test_plain_sources(scheme: str, least: float, most: float, tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", QWEN2)
    layout = write(checkpoint, scheme, tmp_path / "out")
    found = check(checkpoint, layout, tmp_path / "out")
    assert found.keys() == checkpoint.header.tensors.keys()
    for name, difference in found.items():
        if name.endswith("proj.weight"):
            assert least <= difference.relative_rmse <= most, name
            assert difference.type == {16: "f16", 8: "i8", 4: "i4"}[layout.scheme.engine_bits]
        else:
            assert difference.relative_rmse == 0, name


@pytest.mark.parametrize("made", [models.awq, models.modelopt_awq, models.smoothquant])
def test_quantized_sources_differ_by_the_rounding_of_fp16(made: Any, tmp_path: Path) -> None:
    checkpoint = made(tmp_path / "hf", LLAMA)[0]
    layout = write(checkpoint, "int8_sq" if made is models.smoothquant else "int4_awq", tmp_path / "out")
    found = check(checkpoint, layout, tmp_path / "out")
    assert len([n for n in found if n.endswith("proj.weight")]) == 14
    assert max(d.relative_rmse for d in found.values()) < 5e-4


def test_a_copy_of_the_embedding_is_compared_with_it(tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", QWEN2)
    layout = write(checkpoint, "fp16", tmp_path / "out", version="0.16.0")
    assert check(checkpoint, layout, tmp_path / "out")["lm_head.weight"].relative_rmse == 0


def test_swapped_tensors_are_seen(tmp_path: Path) -> None:
    """The MLP's two halves have one shape: only their values tell them apart."""
    checkpoint = models.plain(tmp_path / "hf", LLAMA)
    layout = write(checkpoint, "fp16", tmp_path / "out")
    weights = tmp_path / "out" / "rank0.safetensors"
    data = bytearray(weights.read_bytes())
    first, second = (layout.file.offsets[f"transformer.layers.0.mlp.{n}.weight"] for n in ("fc", "gate"))
    size = layout.file.tensors["transformer.layers.0.mlp.fc.weight"].nbytes
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]
    weights.write_bytes(data)
    found = check(checkpoint, layout, tmp_path / "out")
    assert found["model.layers.0.mlp.gate_proj.weight"].relative_rmse > 1
    assert found["model.layers.1.mlp.gate_proj.weight"].relative_rmse == 0


def test_one_wrong_code_is_seen(tmp_path: Path) -> None:
    checkpoint, _ = models.awq(tmp_path / "hf", LLAMA)
    layout = write(checkpoint, "int4_awq", tmp_path / "out")
    before = check(checkpoint, layout, tmp_path / "out")
    name = "transformer.layers.1.attention.qkv.weight"
    with (tmp_path / "out" / "rank0.safetensors").open("r+b") as file:
        # An output channel of v: the last byte of the fused matrix.
        file.seek(layout.file.offsets[name] + layout.file.tensors[name].nbytes - 1)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x80]))
    after = check(checkpoint, layout, tmp_path / "out")
    changed = [n for n in after if after[n] != before[n]]
    assert changed == ["model.layers.1.self_attn.v_proj.weight"]


def test_structure(tmp_path: Path) -> None:
    checkpoint = models.plain(tmp_path / "hf", LLAMA)
    layout = write(checkpoint, "fp16", tmp_path / "out")
    config, weights = tmp_path / "out" / "config.json", tmp_path / "out" / "rank0.safetensors"
    config.write_bytes(config.read_bytes().replace(b"500000.0", b"500001.0"))
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(ProofError) as caught:
        check(checkpoint, layout, tmp_path / "out")
    assert [d.place for d in caught.value.diagnostics] == ["config.json", "rank0.safetensors"]
    config.unlink()
    with pytest.raises(ProofError, match="error: cannot be read"):
        check(checkpoint, layout, tmp_path / "out")


def test_rounding_of_bf16_is_what_is_left(tmp_path: Path) -> None:
    """Values below FP16's smallest are lost; the difference says how much that is."""
    values = models.plain_tensors(LLAMA)["model.layers.0.mlp.up_proj.weight"].astype(np.float32)
    values[0] = 1e-9
    checkpoint = models.plain(tmp_path / "hf", LLAMA, **{"model.layers.0.mlp.up_proj.weight": values})
    layout = write(checkpoint, "fp16", tmp_path / "out")
    found = check(checkpoint, layout, tmp_path / "out")
    assert 0 < found["model.layers.0.mlp.up_proj.weight"].relative_rmse < 1e-6
