"""The repository of an engine that is built on the device: what stands in it, and what is refused."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgec.deploy.model import ServedModel
from edgec.deploy.triton.engine_repository import EngineFacts, refuse_engine, trtllm_repository
from edgec.deploy.triton.lint import lint_files
from edgec.recipe.package import TritonPackage

ENGINE = EngineFacts(
    version="0.12.0", path="/var/lib/edgec/engines/docs", max_batch_size=8, max_input_len=512, max_seq_len=768,
    kv_cache_tokens=6144, end_id=2, pad_id=0,
)  # fmt: skip


@pytest.fixture
def model(docs_llama: ServedModel) -> ServedModel:
    return replace(
        docs_llama,
        format="trtllm",
        scheme="int8_wo",
        context=768,
        batch=8,
        chat_template="{{ messages }}",
        special_texts={"bos_token": "<s>"},
    )


def test_the_repository(model: ServedModel) -> None:
    emitted = trtllm_repository(TritonPackage(), model, ENGINE, tokenizer=b"{}")
    assert emitted == trtllm_repository(TritonPackage(), model, ENGINE, tokenizer=b"{}")
    repository = {
        p.removeprefix("triton/models/"): d for p, d in emitted.files.items() if p.startswith("triton/models/")
    }
    assert {p.partition("/")[0] for p in repository} == {
        "docs-llama",
        "preprocessing",
        "tensorrt_llm",
        "postprocessing",
    }
    assert not lint_files(repository)
    config = repository["tensorrt_llm/config.pbtxt"].decode()
    for line in (
        'key: "gpt_model_path" value { string_value: "/var/lib/edgec/engines/docs" }',
        'key: "max_tokens_in_paged_kv_cache" value { string_value: "6144" }',
        "max_batch_size: 8",
    ):
        assert line in config
    before = repository["preprocessing/config.pbtxt"].decode()
    assert 'key: "max_input" value { string_value: "512" }' in before
    # A prompt of 512 leaves room for it.
    assert 'key: "max_tokens" value { string_value: "256" }' in before
    assert repository["preprocessing/1/chat_template.jinja"] == b"{{ messages }}"
    assert json.loads(repository["preprocessing/1/special_texts.json"]) == {"bos_token": "<s>"}
    assert emitted.facts["tensorrt_llm"] == "0.12.0"
    assert emitted.not_verified[0].what == "that tritonserver serves the engine"


def test_the_readme_and_the_scripts(model: ServedModel, tmp_path: Path) -> None:
    emitted = trtllm_repository(TritonPackage(max_tokens=100), model, ENGINE, tokenizer=b"{}")
    readme = emitted.files["triton/README.md"].decode()
    for text in (
        "/var/lib/edgec/engines/docs",
        "engine build not verified on hardware",
        "A prompt holds 512 tokens at most, prompt and answer together 768",
        "XDG_STATE_HOME=/var/lib edgec device finalize BUNDLE --key KEY.pub",
        "cache of 6144",
        "100 if left out",
    ):
        assert text in readme
    assert max(map(len, readme.splitlines())) <= 180
    start = emitted.files["triton/start.sh"]
    assert b"no backend tensorrtllm in" in start
    assert b"--load-model=docs-llama" in start
    assert b"--load-model=tensorrt_llm" not in start
    for name in ("start.sh", "load.sh"):
        (tmp_path / name).write_bytes(emitted.files[f"triton/{name}"])
        subprocess.run(["sh", "-n", tmp_path / name], check=True)


def test_refusals(model: ServedModel) -> None:
    assert not list(refuse_engine(TritonPackage(), model))
    (name,) = refuse_engine(TritonPackage(model_name="tensorrt_llm"), model)
    assert name.at == ("package", "triton", "model_name")
    (versions,) = refuse_engine(TritonPackage(served_versions=2), model)
    assert versions.at == ("package", "triton", "served_versions")
    with pytest.raises(ValueError, match="two models write"):
        trtllm_repository(TritonPackage(model_name="preprocessing"), model, ENGINE, tokenizer=b"{}")
