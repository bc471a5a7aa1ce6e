"""The quickstart's bundle on a real tritonserver: what clients of a language model do, good and bad."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from triton_case import (
    GENERATED,
    GREEDY,
    LONG,
    MESSAGES,
    NAME,
    PROMPT,
    chat_text,
    public_key,
    text_of,
)

from edgec.bundle.verify import verify_bundle
from edgec.errors import ToolError
from edgec.toolchain.environments import Environment, run_json
from edgec.trial.http_client import HttpClient
from edgec.trial.triton_client import TritonModel
from edgec.trial.triton_server import TritonServer, triton_server

pytestmark = pytest.mark.toolchain
STREAMS = 8


@pytest.fixture(scope="module")
def server(triton_environment: Environment, quickstart: Path) -> Iterator[TritonServer]:
    log = quickstart.with_name("triton.log")
    with triton_server(triton_environment, quickstart / "triton" / "models", models=[NAME], log=log) as running:
        yield running


@pytest.fixture(scope="module")
def model(server: TritonServer) -> TritonModel:
    return TritonModel(server, NAME)


def settled(model: TritonModel, least: float = 0) -> float:
    """The count of generated tokens, once it is at least `least` and nothing is generated any more."""
    deadline = time.monotonic() + 30
    last, count = -1.0, model.metric(GENERATED)
    while count != last or count < least:
        assert time.monotonic() < deadline, (last, count, least)
        time.sleep(0.3)
        last, count = count, model.metric(GENERATED)
    return count


def test_live_ready_and_named(server: TritonServer, model: TritonModel) -> None:
    assert server.http.is_ok("/v2/health/live")
    assert server.http.is_ok("/v2/health/ready")
    assert model.is_ready()
    assert server.http.get("/v2").json()["version"] == "2.51.0"
    assert model.metadata()["outputs"][0]["name"] == "text_output"


def test_the_served_bundle_stays_as_it_was_signed(model: TritonModel, quickstart: Path) -> None:
    assert model.is_ready()
    assert verify_bundle(quickstart, public_key=public_key(quickstart), accept_development_key=True).form == "folder"


def test_generate_answers_as_llama_cpps_own_server(model: TritonModel, chat: str) -> None:
    port = int(chat.rsplit(":", 1)[1])
    own = HttpClient(port).post("/v1/chat/completions", {"messages": json.loads(MESSAGES), **GREEDY}).json()
    answer = model.generate(messages=MESSAGES, **GREEDY).json()
    assert answer["text_output"] == chat_text(own)
    assert answer["finish_reason"] == own["choices"][0]["finish_reason"]
    assert answer["prompt_tokens"] == own["usage"]["prompt_tokens"]
    assert answer["completion_tokens"] == own["usage"]["completion_tokens"]


def test_a_prompt_is_taken_as_it_is(model: TritonModel) -> None:
    # The chat template adds tokens; a prompt has none of them.
    assert (
        model.generate(text_input=PROMPT, **GREEDY).json()["prompt_tokens"]
        < (model.generate(messages=MESSAGES, **GREEDY).json()["prompt_tokens"])
    )


def test_stream_comes_token_by_token_and_is_the_whole_answer(model: TritonModel) -> None:
    text_of(model, text_input=PROMPT, **GREEDY)
    whole = text_of(model, text_input=PROMPT, **GREEDY)
    streamed = model.stream(text_input=PROMPT, **GREEDY)
    assert streamed.text == whole
    assert len(streamed.pieces) == GREEDY["max_tokens"] + 1
    assert streamed.last["completion_tokens"] == GREEDY["max_tokens"]
    assert streamed.spread_s > 0


def test_sampling_follows_its_settings(model: TritonModel) -> None:
    hot = {"text_input": PROMPT, "max_tokens": 16, "temperature": 1.5}
    assert text_of(model, **hot, seed=7) == text_of(model, **hot, seed=7)
    assert len({text_of(model, **hot, seed=seed) for seed in range(4)}) > 1
    # One candidate is left: temperature is of no effect.
    assert text_of(model, **hot, top_k=1) == text_of(model, **{**hot, "temperature": 0.0})


def test_stop_words_end_the_answer_before_them(model: TritonModel) -> None:
    whole = text_of(model, text_input=PROMPT, **GREEDY)
    word = whole[len(whole) // 2 :][:3]
    reply = model.generate(text_input=PROMPT, **GREEDY, stop=["never said", word]).json()
    assert reply["text_output"] == whole[: whole.index(word)]
    assert reply["finish_reason"] == "stop"


def test_a_json_schema_holds(model: TritonModel) -> None:
    choice = json.dumps({"type": "string", "enum": ["yes", "no"]})
    assert json.loads(text_of(model, text_input=PROMPT, **GREEDY, json_schema=choice)) in ("yes", "no")
    # Between the parts of a chat's JSON llama.cpp allows blanks without end, which this model loves.
    flags = json.dumps({"type": "array", "items": {"type": "boolean"}, "minItems": 3})
    assert set(text_of(model, messages=MESSAGES, **GREEDY, json_schema=flags)) <= set("[]truefals, \n\t")


def test_streams_at_once_are_decoded_together(model: TritonModel) -> None:
    began = time.monotonic()
    started = threading.Barrier(STREAMS)

    def ask(number: int) -> tuple[float, float]:
        started.wait()
        streamed = model.stream(text_input=f"{number}. {PROMPT}", max_tokens=100, temperature=0.0)
        assert streamed.last["completion_tokens"] > 0
        ended = time.monotonic() - began
        return ended - streamed.spread_s, ended

    with ThreadPoolExecutor(STREAMS) as clients:
        times = list(clients.map(ask, range(STREAMS)))
    # The last one to begin has its first token before the first one to end has its last.
    assert max(first for first, _ in times) < min(last for _, last in times)


def test_work_stops_when_clients_leave(model: TritonModel) -> None:
    whole = int(model.stream(text_input=PROMPT, **LONG).last["completion_tokens"])
    before = settled(model)
    leavers = 6
    for _ in range(leavers):
        with model.events(text_input=PROMPT, **LONG) as events:
            list(itertools.islice(events, 3))
    after = settled(model, before + leavers)
    # Each answer has exactly so many tokens; how early a client is found gone depends on what else the machine does.
    assert after - before < 0.95 * leavers * whole
    assert text_of(model, text_input=PROMPT, **GREEDY)


def test_infer_over_grpc_streams_and_can_be_cancelled(
    triton_environment: Environment, server: TritonServer, model: TritonModel, tmp_path: Path
) -> None:
    def ask(leave_after: int, **inputs: Any) -> dict[str, Any]:
        types = {str: ("BYTES", "object"), float: ("FP32", "float32"), bool: ("BOOL", "bool"), int: ("INT32", "int32")}
        tensors = [
            {"name": name, "data": [value], "type": types[type(value)][0], "numpy": types[type(value)][1]}
            for name, value in inputs.items()
        ]
        asked = {"port": server.grpc_port, "model": NAME, "inputs": tensors, "leave_after": leave_after}
        script = Path(__file__).with_name("grpc_script.py")
        return run_json(triton_environment, script, asked, timeout_s=90, log=tmp_path / "log", memory_mib=64)

    whole = ask(-1, text_input=PROMPT, **GREEDY)
    assert whole["error"] is None
    assert "".join(whole["texts"]) == text_of(model, text_input=PROMPT, **GREEDY)
    streamed = ask(-1, text_input=PROMPT, **GREEDY, stream=True)
    assert len(streamed["texts"]) == GREEDY["max_tokens"] + 1
    before = settled(model)
    assert len(ask(3, text_input=PROMPT, **LONG, stream=True)["texts"]) == 3
    assert settled(model, before + 1) - before < 250
    assert "empty" in ask(-1, text_input="")["error"]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"text_input": "word " * 2000}, "exceeds the available context size (256 tokens)"),
        ({"text_input": ""}, "`text_input` is empty"),
        ({}, "give either `text_input` (a prompt, taken as it is) or `messages` (chat)"),
        ({"text_input": "a", "messages": MESSAGES}, "give either"),
        ({"messages": "Hello"}, "`messages` is not JSON"),
        ({"messages": '[{"role": "user", "content": "a", "colour": 1}]'}, "message 1: unknown key `colour`"),
        ({"text_input": "a", "temperature": -1.0}, "`temperature` is -1; it must be from 0 to 100"),
        ({"text_input": "a", "max_tokens": 0}, "`max_tokens` is 0; it must be at least 1"),
        ({"messages": MESSAGES, "json_schema": '{"type": "colour"}'}, "the unknown type 'colour'"),
        ({"text_input": "a", "json_schema": '{"type": "colour"}'}, "the unknown type 'colour'"),
        ({"text_input": "a", "tools": "[]"}, "`tools` needs `messages`"),
        ({"text_input": "a", "max_tokens": "many"}, "Unable to parse 'data'"),
        ({"text_input": [1.5]}, "Unable to parse"),
        ({"text_input": ["a", "b"]}, "proper shape"),
    ],
)
def test_bad_requests_are_refused_and_the_model_goes_on(model: TritonModel, inputs: dict[str, Any], says: str) -> None:
    reply = model.generate(**inputs)
    assert not reply.is_ok
    assert says in reply.json()["error"]
    with pytest.raises(ToolError, match="Triton streams an error"):
        model.stream(**inputs)
    assert model.is_ready()
    assert text_of(model, text_input=PROMPT, **GREEDY)


def test_metrics_count_requests_and_tokens(model: TritonModel) -> None:
    families = ("nv_inference_request_success", "edgec_prompt_tokens_total", GENERATED)
    before = [model.metric(family) for family in families]
    answer = model.generate(text_input=PROMPT, **GREEDY).json()
    after = [model.metric(family) for family in families]
    moved = [b - a for a, b in zip(before, after, strict=True)]
    assert moved == [1, answer["prompt_tokens"], answer["completion_tokens"]]


def test_requests_without_an_answer_are_counted(model: TritonModel) -> None:
    refused, cancelled = (f"edgec_{what}_requests_total" for what in ("refused", "cancelled"))
    before = model.metric(refused), model.metric(cancelled)
    assert not model.generate(text_input="").is_ok
    assert not model.generate(text_input="word " * 2000).is_ok
    assert (model.metric(refused), model.metric(cancelled)) == (before[0] + 2, before[1])
    for _ in range(8):
        with model.events(text_input=PROMPT, **LONG) as events:
            list(itertools.islice(events, 3))
        settled(model)
    assert model.metric(cancelled) > before[1]


def test_a_large_body_is_refused_and_tools_are_where_the_template_has_none(model: TritonModel) -> None:
    assert "exceeds the available context size" in model.generate(text_input="a" * 9_000_000).json()["error"]
    assert "shows it no tools" in model.generate(messages=MESSAGES, tool_choice="required").json()["error"]
    assert model.is_ready()


def test_many_short_requests_do_not_crash_it(server: TritonServer, model: TritonModel) -> None:
    # Triton 2.51 crashes when two threads update metrics at once.
    with ThreadPoolExecutor(STREAMS) as clients:
        replies = list(clients.map(lambda n: model.generate(text_input=f"{n}", max_tokens=1), range(200)))
    assert all(reply.is_ok for reply in replies)
    assert server.http.is_ok("/v2/health/live")


def test_a_new_version_takes_over_while_streams_run(
    triton_environment: Environment, quickstart: Path, model: TritonModel, tmp_path: Path
) -> None:
    # A path that the python backend itself would hang on.
    shutil.copytree(quickstart, tmp_path / "a bundle; here")
    repository = tmp_path / "a bundle; here" / "triton" / "models"
    # One thread for all HTTP: a load over HTTP would hold it, and the streams would lose responses and never end.
    options = ["--http-thread-count=1"]
    log = tmp_path / "log"
    with triton_server(triton_environment, repository, models=[NAME], log=log, options=options) as server:
        swapped = TritonModel(server, NAME)
        with ThreadPoolExecutor(2) as clients:
            streams = [clients.submit(swapped.stream, text_input=PROMPT, **LONG) for _ in range(2)]
            shutil.copytree(repository / NAME / "1", repository / NAME / "2")
            swapped.load()
            finished = [stream.result() for stream in streams]
        assert {stream.last["model_version"] for stream in finished} == {"1"}
        assert all(stream.last["finish_reason"] == "length" for stream in finished)
        assert swapped.metadata()["versions"] == ["2"]
        assert swapped.generate(text_input=PROMPT, **GREEDY).json()["model_version"] == "2"
    assert "Signal (11)" not in log.read_text()
    # Two servers ran at once, and one has ended.
    assert model.is_ready()
    assert text_of(model, text_input=PROMPT, **GREEDY)
