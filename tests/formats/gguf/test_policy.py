"""Types per tensor: against what llama-quantize chose for the same models, and edgec's overrides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schematic_models

from edgec.errors import InputError
from edgec.formats.gguf.model import MappedModel
from edgec.formats.gguf.policy import assign_types, fallback, tensor_order
from edgec.formats.gguf.types import TensorType
from edgec.source.model import DType

_GOLDEN = json.loads((Path(__file__).parent / "goldens" / "types.json").read_text())
_LLAMA = schematic_models.MODELS["llama-16-gqa4"]
_NARROW = schematic_models.MODELS["qwen2-24-width896"]


def _brief(mapped: MappedModel, scheme: str, has_imatrix: bool) -> dict[str, str]:
    types = assign_types(mapped, scheme, has_imatrix=has_imatrix)
    wanted = schematic_models.quantizable(mapped)
    return schematic_models.brief({n: t for n, t in types.items() if n in wanted})


@pytest.mark.parametrize("name", schematic_models.MODELS)
def test_types_are_llama_quantizes(name: str) -> None:
    golden = _GOLDEN[name]
    assert len(golden) == 29  # 16 schemes, and 13 that quantize with an importance matrix
    for key, expected in golden.items():
        scheme, _, imatrix = key.partition("+")
        assert _brief(schematic_models.MODELS[name], scheme, bool(imatrix)) == expected, key


def test_vectors_and_fixed_tensors_stay_float32() -> None:
    types = assign_types(schematic_models.MODELS["bert-6-width384"], "q4_0")
    assert types["output_norm.weight"] is types["token_types.weight"] is TensorType.F32


def test_order_is_outside_first_then_blocks_by_number() -> None:
    names = ["blk.10.a", "output.weight", "blk.2.b", "blk.2.a", "token_embd.weight", "output_norm.weight"]
    assert sorted(names, key=tensor_order) == [
        "output.weight", "output_norm.weight", "token_embd.weight", "blk.2.a", "blk.2.b", "blk.10.a",
    ]  # fmt: skip


def test_the_last_override_wins_and_changes_nothing_else() -> None:
    plain = assign_types(_LLAMA, "q4_k_m")
    types = assign_types(_LLAMA, "q4_k_m", overrides=[("blk.*.ffn_down.weight", "q8_0"), ("blk.3.ffn_*.weight", "f16")])
    assert types["blk.2.ffn_down.weight"] is TensorType.Q8_0
    assert types["blk.3.ffn_down.weight"] is types["blk.3.ffn_up.weight"] is TensorType.F16
    changed = {n for n in types if types[n] is not plain[n]}
    assert all("ffn_down" in n or n.startswith("blk.3.ffn_") for n in changed)


def test_an_override_counts_for_unquantized_schemes_too() -> None:
    assert assign_types(_LLAMA, "f16", overrides=[("output.weight", "q8_0")])["output.weight"] is TensorType.Q8_0


def test_every_wrong_override_is_named() -> None:
    with pytest.raises(InputError) as caught:
        assign_types(_NARROW, "q4_0", overrides=[("blk.*.nothing", "q8_0"), ("blk.1.attn_q.weight", "q6_k")])
    first, second = caught.value.diagnostics
    assert "'blk.*.nothing' matches no tensor" in first.message
    assert "blk.1.attn_q.weight has rows of 896 elements, no multiple of 256" in second.message
    assert second.hint == "write q8_0 for it"


def test_an_override_never_touches_a_norm() -> None:
    types = assign_types(_LLAMA, "q4_0", overrides=[("*", "q8_0")])
    assert types["output_norm.weight"] is TensorType.F32
    assert types["blk.0.attn_q.weight"] is TensorType.Q8_0


def test_source_scheme_keeps_the_checkpoints_types() -> None:
    dtypes = {t.source: DType.BF16 for t in _LLAMA.tensors if t.source} | {"o": DType.F16, "ffn_down": DType.F32}
    types = assign_types(_LLAMA, "source", source_dtypes=dtypes)
    assert types["blk.0.attn_q.weight"] is TensorType.BF16
    assert types["output.weight"] is TensorType.F16
    assert types["blk.0.ffn_down.weight"] is types["output_norm.weight"] is TensorType.F32


def test_rows_of_no_blocks_at_all_become_f16() -> None:
    assert fallback(TensorType.Q4_K, 48) is TensorType.F16
    assert fallback(TensorType.Q8_0, 48) is TensorType.F16
    assert fallback(TensorType.IQ4_XS, 96) is TensorType.IQ4_NL
