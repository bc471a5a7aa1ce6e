"""What a quantized checkpoint says of itself: read where edgec can use it, refused with what to do where not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgec.errors import InputError
from edgec.source.quantization import Quantization, parse_quantization, refuse_quantized


def parse(**settings: Any) -> Quantization | None:
    return parse_quantization({"quantization_config": settings})


def test_plain() -> None:
    assert parse_quantization({}) is None
    assert parse_quantization({"quantization_config": None}) is None
    refuse_quantized({}, None)


def test_awq() -> None:
    assert parse(quant_method="awq", bits=4, group_size=128, zero_point=False) == Quantization("awq", 4, 128, True)
    # The names of AutoAWQ's own file; zero points are its default.
    assert parse(quant_method="awq", w_bit=4, q_group_size=64, version="GEMM") == Quantization("awq", 4, 64, False)


def test_gptq() -> None:
    settings = {"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": True}
    assert parse(**settings) == Quantization("gptq", 4, -1, True, zero_offset=1)
    assert parse(**settings, checkpoint_format="gptq_v2") == Quantization("gptq", 4, -1, True, zero_offset=0)


def test_modelopt() -> None:
    assert parse(quant_method="modelopt", quant_algo="W8A8_SQ_PER_CHANNEL") == Quantization(
        "modelopt_int8_sq", 8, None, True
    )
    sidecar = json.dumps({"quantization": {"quant_algo": "W4A16_AWQ", "group_size": 64}}).encode()
    assert parse_quantization({}, sidecar) == Quantization("modelopt_awq", 4, 64, True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "fp8"}, "it reads awq, gptq and modelopt's W4A16_AWQ and W8A8_SQ_PER_CHANNEL"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quant_method: bitsandbytes"),
        ({"quant_method": "compressed-tensors"}, "quant_method: compressed-tensors"),
        ({"quant_method": "awq", "bits": 3, "group_size": 128}, "it has 3 bits, and 4 are read"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}, "its version is 'gemv'"),
        ({"quant_method": "awq", "bits": 4}, "its group_size is None"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "its group_size is 0"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "it has 8 bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "desc_act is true"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"}, "'marlin'"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "its quant_algo is FP8"),
        (
            {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "kv_cache_scheme": {"num_bits": 8}},
            "its KV cache is quantized",
        ),
    ],
)
def test_what_cannot_be_read(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(**settings)
    text = str(caught.value)
    assert text.startswith("config.json: error: the checkpoint is quantized already")
    assert said in text
    assert "use the unquantized checkpoint" in text


@pytest.mark.parametrize("sidecar", [b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_sidecar(sidecar: bytes) -> None:
    with pytest.raises(InputError, match=r"hf_quant_config\.json: error: "):
        parse_quantization({}, sidecar)


def test_where_plain_weights_are_wanted() -> None:
    config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    with pytest.raises(InputError, match=r"config\.json: error: these weights are quantized already \(awq, 4 bits\)"):
        refuse_quantized(config, parse_quantization(config))
