"""The table of versions, and commands that go by it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import decoder_models as models
import pytest
from decoder_models import LLAMA

from edgec.formats.trtllm.build_command import CHECKPOINT_PLACE, ENGINE_PLACE, build_command, strange_flags
from edgec.formats.trtllm.engine_limits import EngineWish, Logits, engine_limits
from edgec.formats.trtllm.layout import plan_trtllm
from edgec.formats.trtllm.versions import JETSON_VERSION, VERSIONS, version_facts


def test_the_table() -> None:
    assert JETSON_VERSION in VERSIONS
    assert "1.2.1" in VERSIONS
    for version, facts in VERSIONS.items():
        assert facts.source.startswith("NVIDIA/TensorRT-LLM"), version
        assert {"checkpoint_dir", "output_dir", "max_num_tokens", "gather_generation_logits"} <= facts.flags
        # Of NVIDIA's converter, or of versions before the table's first.
        assert not {"use_weight_only", "weight_only_precision", "max_output_len", "strongly_typed"} & facts.flags
        assert not strange_flags(facts, facts.paged_kv_cache)
    assert "kv_cache_type" not in VERSIONS["0.12.0"].flags
    assert "kv_cache_type" in VERSIONS["0.13.0"].flags
    assert "tp_size" not in VERSIONS["0.12.0"].flags
    assert "auto_parallel" not in VERSIONS["1.2.1"].flags


@pytest.mark.parametrize("spelling", ["0.12.0", "v0.12.0", "v0.12.0-jetson"])
def test_spellings_of_a_version(spelling: str) -> None:
    assert version_facts(spelling) is VERSIONS["0.12.0"]


def test_the_often_copied_command_is_wrong() -> None:
    copied = ["trtllm-build", "--use_weight_only", "--weight_only_precision=int8", "--max_batch_size", "8"]
    assert strange_flags(VERSIONS["0.12.0"], copied) == ("--use_weight_only", "--weight_only_precision=int8")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("logits", ["none", "generation", "context"])
def test_every_command_has_only_flags_of_its_version(version: str, logits: Logits, tmp_path: Path) -> None:
    header = models.plain(tmp_path, LLAMA).header
    layout = plan_trtllm(header, scheme="int8_wo", version=version, kv_cache="int8")
    wish = EngineWish(batch=2, input_tokens=100, output_tokens=28, logits=logits)
    command = build_command(layout, engine_limits(layout, 1000, wish))
    assert not strange_flags(VERSIONS[version], command)
    values = dict(pairwise(command))
    assert (values["--checkpoint_dir"], values["--output_dir"]) == (CHECKPOINT_PLACE, ENGINE_PLACE)
    assert (values["--max_batch_size"], values["--max_input_len"], values["--max_seq_len"]) == ("2", "100", "128")
    assert values["--use_paged_context_fmha"] == "disable"
    assert ("--gather_context_logits" in command) is (logits == "context")
    assert ("--gather_generation_logits" in command) is (logits != "none")


def test_the_command_for_jetson(tmp_path: Path) -> None:
    layout = plan_trtllm(models.plain(tmp_path, LLAMA).header, scheme="fp16", version="v0.12.0-jetson")
    limits = engine_limits(layout, 1000, EngineWish(batch=8, input_tokens=256, output_tokens=256))
    assert " ".join(build_command(layout, limits)) == (
        "trtllm-build --checkpoint_dir {checkpoint} --output_dir {engine} --max_batch_size 8 --max_input_len 256 "
        "--max_seq_len 512 --max_beam_width 1 --max_num_tokens 2048 --gemm_plugin float16 "
        "--gpt_attention_plugin float16 --context_fmha enable --remove_input_padding enable --paged_kv_cache enable "
        "--tokens_per_block 64 --use_paged_context_fmha disable --gather_generation_logits --workers 1 --log_level info"
    )
