"""NVIDIA's own exporter made TensorRT-LLM checkpoints of the models in goldens/: ours have the same tensors.

goldens/README.md says how they were made.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import oracle
import pytest
from written import write

from edgec.source.local import open_local

GOLDENS = Path(__file__).parent / "goldens"
# Its Hugging Face exporter folds factors of inputs into the norms before them, and q, k, v, gate and up share one then;
# its other exporter does not.
FOLDED = ("layernorm.weight", "attention.qkv.prequant_scaling_factor", ".mlp.fc.", ".mlp.gate.")


def exported(name: str, scheme: str, out: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What modelopt made, what edgec writes, and edgec's config.json."""
    expected = json.loads((GOLDENS / name / "tensorrt_llm.json").read_text())
    # A version whose checkpoints hold every tensor of modelopt's.
    write(open_local(GOLDENS / name), scheme, out, version="0.16.0")
    found = {
        n: {"dtype": str(t.dtype), "shape": list(t.shape), "sha256": hashlib.sha256(t.tobytes()).hexdigest()}
        for n, t in oracle.read_tensors(out / "rank0.safetensors").items()
    }
    return expected, found, json.loads((out / "config.json").read_text())


def test_smoothquant_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    expected, found, config = exported("modelopt-sq", "int8_sq", tmp_path / "out")
    assert found == expected["tensors"]
    assert config["quantization"]["quant_algo"] == expected["quantization"]["quant_algo"]


def test_awq(tmp_path: Path) -> None:
    expected, found, config = exported("modelopt-awq", "int4_awq", tmp_path / "out")
    kinds = [{n: (t["dtype"], t["shape"]) for n, t in made.items()} for made in (found, expected["tensors"])]
    assert kinds[0] == kinds[1]
    same = {n for n in found if not any(part in n for part in FOLDED)}
    assert {n.removeprefix("transformer.layers.0.") for n in same} >= {
        "attention.qkv.weight", "attention.qkv.weights_scaling_factor", "attention.dense.weight",
        "attention.dense.weights_scaling_factor", "attention.dense.prequant_scaling_factor", "mlp.proj.weight",
        "mlp.proj.weights_scaling_factor", "mlp.proj.prequant_scaling_factor", "lm_head.weight",
    }  # fmt: skip
    for name in same:
        assert found[name] == expected["tensors"][name], name
    for key in ("quant_algo", "group_size", "has_zero_point", "pre_quant_scale"):
        assert config["quantization"][key] == expected["quantization"][key]


@pytest.mark.parametrize("name", ["modelopt-sq", "modelopt-awq"])
def test_the_goldens_say_where_they_come_from(name: str) -> None:
    made_with = json.loads((GOLDENS / name / "tensorrt_llm.json").read_text())["made_with"]
    assert made_with.startswith("nvidia-modelopt 0.47.0")
