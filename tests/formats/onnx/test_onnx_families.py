"""Families that Optimum exports: small random models, in onnxruntime what they are in torch; Nomic by its tensors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from onnx_families import write_family

from edgec.errors import InputError
from edgec.events import silent
from edgec.formats.onnx.encoder import read_encoder
from edgec.formats.onnx.layout import plan_layout
from edgec.formats.onnx.nomic_bert import tensor_names
from edgec.formats.onnx.run import export_encoder
from edgec.source.local import open_local
from edgec.source.model import CheckpointHeader, DType, SourceIdentity, TensorInfo
from edgec.toolchain.environments import find_toolchain, install


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
@pytest.mark.parametrize("name", ["roberta", "mpnet", "distilbert", "xlm-roberta-reranker", "distilbert-reranker"])
def test_the_graph_is_the_model(name: str, tmp_path: Path, toolchains_root: Path) -> None:
    optimum = install(
        find_toolchain("optimum"), toolchains_root, offline=False, report=silent, log=tmp_path / "install.log"
    )
    checkpoint = open_local(write_family(tmp_path / "model", name, optimum.python))
    encoder = read_encoder(checkpoint.header)
    # 130 rows, of which the first two are none of RoBERTa's and MPNet's.
    assert encoder.positions == (130 if "distilbert" in name else 128)
    made = export_encoder(
        optimum, checkpoint, encoder, plan_layout(encoder, "fp32"), tmp_path / "out",
        report=silent, log=tmp_path / "export.log",
    )  # fmt: skip
    # Measured: 3e-7 to 4e-6.
    assert 0 < made.max_difference < 2e-5
    size = (tmp_path / "out" / "model.onnx").stat().st_size
    assert size <= plan_layout(encoder, "fp32").size_bytes < size + (1 << 20)


def nomic_header(published: bool) -> CheckpointHeader:
    """Of a Nomic BERT with one layer, in the publisher's names or in those of transformers 5."""
    width, inner, words = 64, 128, 300
    layer = {"norm1": (width,), "norm2": (width,)} if published else {
        "post_attention_layernorm": (width,), "post_mlp_layernorm": (width,)
    }  # fmt: skip
    matrices = {
        "attn.Wqkv": (3 * width, width), "attn.out_proj": (width, width), "mlp.fc11": (inner, width),
        "mlp.fc12": (inner, width), "mlp.fc2": (width, inner),
    } if published else {
        **{f"self_attn.{part}_proj": (width, width) for part in "qkvo"}, "mlp.up_proj": (inner, width),
        "mlp.gate_proj": (inner, width), "mlp.down_proj": (width, inner),
    }  # fmt: skip
    at, norm = ("encoder.layers.0", "emb_ln") if published else ("layers.0", "embeddings.LayerNorm")
    shapes = {
        "embeddings.word_embeddings.weight": (words, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    shapes |= {f"{at}.{name}.weight": shape for name, shape in matrices.items()}
    for name, shape in ((norm, (width,)), *((f"{at}.{name}", shape) for name, shape in layer.items())):
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape}
    config = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 4}
    if published:
        config = {
            "n_embd": width, "n_inner": inner, "n_layer": 1, "n_head": 4, "n_positions": 8192,
            "activation_function": "swiglu", "causal": False, "prenorm": False, "qkv_proj_bias": False,
            "mlp_fc1_bias": False, "mlp_fc2_bias": False, "rotary_emb_fraction": 1.0,
        }  # fmt: skip
    tensors = {name: TensorInfo(name, DType.F32, shape, "model.safetensors", 0, 0) for name, shape in shapes.items()}
    config |= {"architectures": ["NomicBertModel"], "vocab_size": words}
    identity = SourceIdentity("file:nomic", None, None, ())
    return CheckpointHeader(identity=identity, config=config, tensors=tensors, files={})


@pytest.mark.parametrize("published", [False, True])
def test_nomic_is_read_in_both_spellings(published: bool) -> None:
    header = nomic_header(published)
    encoder = read_encoder(header)
    assert (encoder.layers, encoder.width, encoder.inner, encoder.positions) == (1, 64, 128, 2048)
    names = tensor_names(encoder, header.tensors)
    assert len(names["layers"][0]["qkv"]) == (1 if published else 3)
    parameters = sum(t.elements for t in header.tensors.values())
    assert 4 * parameters < plan_layout(encoder, "fp32").size_bytes < 4 * parameters + (1 << 20)


@pytest.mark.parametrize("published", [False, True])
def test_a_nomic_of_other_weights_is_refused(published: bool) -> None:
    header = nomic_header(published)
    encoder = read_encoder(header)
    down = "encoder.layers.0.mlp.fc2.weight" if published else "layers.0.mlp.down_proj.weight"
    without = {name: tensor for name, tensor in header.tensors.items() if name != down}
    with pytest.raises(InputError, match=f"has no tensor {down}"):
        tensor_names(encoder, without)
    turned = header.tensors | {down: dataclasses.replace(header.tensors[down], shape=(128, 64))}
    with pytest.raises(InputError, match=r"has the shape \(128, 64\), but config.json says \(64, 128\)"):
        tensor_names(encoder, turned)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"qkv_proj_bias": True}, "qkv_proj_bias is True, but must be False: there are no biases"),
        ({"activation_function": "gelu"}, "the feed-forward is SwiGLU"),
        ({"num_experts": 8}, "mixtures of experts are not supported"),
    ],
)
def test_options_that_are_not_computed_are_refused(change: dict[str, Any], expected: str) -> None:
    header = nomic_header(True)
    with pytest.raises(InputError, match=expected):
        read_encoder(dataclasses.replace(header, config={**header.config, **change}))
