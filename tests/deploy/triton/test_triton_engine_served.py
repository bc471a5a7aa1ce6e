"""The steps around an engine, preprocessing and postprocessing, on a real tritonserver; there is no engine here."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from edgec.deploy.triton.model_config import Queue
from edgec.deploy.triton.repository import checked_files
from edgec.deploy.triton.tensorrt_llm import TensorRtLlmSettings, tensorrt_llm_models
from edgec.toolchain.environments import Environment
from edgec.trial.http_client import Reply
from edgec.trial.triton_server import TritonServer, triton_server

pytestmark = pytest.mark.toolchain
TOKENIZER = Path(__file__).parents[3] / "models" / "docs-llama" / "tokenizer.json"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ bos_token + '' }}"
SETTINGS = TensorRtLlmSettings(
    engine_path="/nowhere", max_batch_size=4, context=256, max_input=128, max_tokens=100, end_id=2, pad_id=0,
    queue=Queue(8, 1000),
)  # fmt: skip


@pytest.fixture(scope="module")
def server(triton_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Both steps, with jinja2 beside preprocessing: the toolchain has none."""
    folder = tmp_path_factory.mktemp("engine")
    models = tensorrt_llm_models(
        SETTINGS, tokenizer=TOKENIZER.read_bytes(), chat_template=TEMPLATE, special_texts={"bos_token": "<s>"}
    )
    for path, data in checked_files(models).items():
        (folder / "models" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "models" / path).write_bytes(data)
    for package in ("jinja2", "markupsafe"):
        found = importlib.util.find_spec(package)
        assert found is not None
        assert found.origin is not None
        # Its compiled part may be of another Python's; it does without.
        without = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(Path(found.origin).parent, folder / "models" / "preprocessing" / package, ignore=without)
    steps = ["preprocessing", "postprocessing"]
    with triton_server(triton_environment, folder / "models", models=steps, log=folder / "log") as running:
        yield running


def ask(server: TritonServer, **inputs: Any) -> Reply:
    """What preprocessing makes of a client's inputs."""
    types = {"max_tokens": "INT32"}
    tensors = [
        {"name": name, "datatype": types.get(name, "BYTES"), "shape": [1, 1], "data": [value]}
        for name, value in inputs.items()
    ]
    return server.http.post("/v2/models/preprocessing/infer", {"inputs": tensors})


def ids(reply: Reply) -> list[int]:
    """The token ids that go to the engine."""
    assert reply.is_ok, reply.body
    (found,) = [output["data"] for output in reply.json()["outputs"] if output["name"] == "input_ids"]
    return list(found)


def test_prompts_become_the_tokenizers_ids_and_back(server: TritonServer) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    text = "How is a server started?"
    assert ids(ask(server, text_input=text)) == tokenizer.encode(text).ids
    chat = ask(server, messages=json.dumps([{"role": "user", "content": text}]))
    assert ids(chat) == tokenizer.encode(f"user: {text}\n<s>", add_special_tokens=False).ids
    told = tokenizer.encode(text).ids
    tensors = [
        {"name": "output_ids", "datatype": "INT32", "shape": [1, 1, len(told)], "data": told},
        {"name": "sequence_length", "datatype": "INT32", "shape": [1, 1], "data": [len(told)]},
    ]
    answer = server.http.post("/v2/models/postprocessing/infer", {"inputs": tensors})
    assert answer.json()["outputs"][0]["data"] == [text]


def test_the_longest_prompt_is_the_engines(server: TritonServer) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    longest = " word" * 200
    while len(tokenizer.encode(longest).ids) > SETTINGS.max_input:
        longest = longest.removesuffix(" word")
    assert len(ids(ask(server, text_input=longest))) == len(tokenizer.encode(longest).ids)
    # Together they would fit the context.
    refused = ask(server, text_input=longest + " word" * 8, max_tokens=50)
    assert not refused.is_ok
    assert b"the engine was built for 128 at most" in refused.body


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"text_input": ""}, "`text_input` is empty"),
        ({"text_input": "a", "max_tokens": 0}, "`max_tokens` is 0"),
        ({"text_input": "a", "max_tokens": 256}, "the engine holds 256"),
        ({"text_input": "a", "messages": "[]"}, "exactly one of"),
        ({"messages": "[1]"}, "message 1 is no JSON object"),
        ({"messages": '"x"'}, "`messages` is no JSON list"),
        ({"messages": "{}"}, "`messages` is no JSON list"),
        ({"messages": '[{"role": "user"}]'}, "`content` is not a text"),
        ({"messages": '[{"role": "user", "content": "\\ud800"}]'}, "surrogate"),
    ],
)
def test_a_clients_mistake_is_told_to_the_client(server: TritonServer, inputs: dict[str, Any], said: str) -> None:
    refused = ask(server, **inputs)
    assert refused.status == 400, refused.body
    assert said.encode() in refused.body
