"""The plugin's language models against a real server: streams, ends, counts, tools, thoughts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dify_case import Plugin, text_of

from edgec.trial.dify_process import Refusal

pytestmark = pytest.mark.toolchain

GREEDY = {"max_tokens": 12, "temperature": 0}
CALLING = {"max_tokens": 200, "temperature": 0}
ASKED = "How do I open a file?"
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Paris"]}}, "required": ["city"]},
}


def test_manifest(llm: Plugin) -> None:
    manifest = llm.process.manifest
    assert (manifest["author"], manifest["name"], manifest["version"]) == ("acme", "small", "1.0.0")
    assert manifest["plugins"]["models"] == ["provider/provider.yaml"]


@pytest.mark.parametrize("written", ["{}", "{}/", "{}/v1", "{}/v1/", " {}/v1 "])
def test_every_way_to_write_the_endpoint(llm: Plugin, chat: str, written: str) -> None:
    for endpoint in (written.format(chat), written.format(chat.removeprefix("http://"))):
        credentials = {"endpoint_url": endpoint}
        assert llm.process.ask("validate_provider_credentials", credentials=credentials)["result"] is True


def test_a_stream_comes_in_pieces_and_ends_with_the_servers_counts(llm: Plugin, chat: str) -> None:
    *pieces, last = llm.chunks(chat, ASKED, model_parameters=GREEDY)
    assert len(pieces) > 3
    assert all(piece["message"]["content"] and piece["usage"] is None for piece in pieces)
    assert last["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == GREEDY["max_tokens"]
    counted = llm.process.ask(
        "get_llm_num_tokens", **llm.request(chat), prompt_messages=[{"role": "user", "content": ASKED}], tools=None
    )
    assert counted["num_tokens"] == last["usage"]["prompt_tokens"] > 0


def test_without_streaming_it_is_one_piece_with_the_same_text(llm: Plugin, chat: str) -> None:
    streamed = llm.chunks(chat, ASKED, model_parameters=GREEDY)
    (whole,) = llm.chunks(chat, ASKED, model_parameters=GREEDY, stream=False)
    assert whole["message"]["content"] == text_of(streamed)
    assert whole["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == GREEDY["max_tokens"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_word_ends_the_answer_before_it(tool_llm: Plugin, parrot: str, stream: bool) -> None:
    deltas = tool_llm.chunks(parrot, "Say Y", stop=["字"], stream=stream)
    assert text_of(deltas) == "naïve漢"
    assert deltas[-1]["finish_reason"] == "stop"


def test_a_text_in_pieces_of_characters(tool_llm: Plugin, parrot: str) -> None:
    """Each of these characters is two to four tokens."""
    assert text_of(tool_llm.chunks(parrot, "Say Y")) == "naïve漢字🚀"


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_call(tool_llm: Plugin, parrot: str, stream: bool) -> None:
    deltas = tool_llm.chunks(parrot, "Say X", tools=[WEATHER], stream=stream, model_parameters=CALLING)
    calls = [call for delta in deltas for call in delta["message"]["tool_calls"]]
    assert [call["function"]["name"] for call in calls] == ["get_weather"]
    assert json.loads(calls[0]["function"]["arguments"])["city"] in ("Oslo", "Paris")
    assert calls[0]["id"]
    assert deltas[-1]["finish_reason"] == "tool_calls"
    assert text_of(deltas) == ""


def test_the_result_of_a_tool_goes_back_to_the_model(tool_llm: Plugin, parrot: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "1", "name": "get_weather"},
        {"role": "user", "content": "Say Y"},
    ]
    assert text_of(tool_llm.chunks(parrot, "", prompt_messages=messages)) == "naïve漢字🚀"
    model = tool_llm.request(parrot)
    with_result = tool_llm.process.ask("get_llm_num_tokens", **model, prompt_messages=messages, tools=[WEATHER])
    without = tool_llm.process.ask("get_llm_num_tokens", **model, prompt_messages=messages[-1:], tools=None)
    assert with_result["num_tokens"] > without["num_tokens"] + 50


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_stand_between_tags(llm: Plugin, thinker: str, stream: bool) -> None:
    assert text_of(llm.chunks(thinker, "Say T", stream=stream)) == "<think>\nbecause\n</think>4"


def test_thoughts_that_are_cut_off_are_closed(llm: Plugin, thinker: str) -> None:
    deltas = llm.chunks(thinker, "Say T", model_parameters={"max_tokens": 6})
    assert text_of(deltas).endswith("\n</think>")
    assert deltas[-1]["finish_reason"] == "length"


def test_json_by_a_schema(llm: Plugin, chat: str) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    # With room for the blanks that the grammar allows between any two tokens, and the same at every run.
    parameters = {
        "max_tokens": 200,
        "temperature": 0,
        "response_format": "json_schema",
        "json_schema": json.dumps(schema),
    }
    assert "yes" in json.loads(text_of(llm.chunks(chat, ASKED, model_parameters=parameters)))


def test_what_the_model_cannot_take_is_refused_by_name(llm: Plugin, chat: str) -> None:
    with pytest.raises(Refusal, match="knows no tools") as refusal:
        llm.chunks(chat, ASKED, tools=[WEATHER])
    assert refusal.value.kind == "InvokeBadRequestError"
    picture = {"type": "image", "format": "png", "mime_type": "image/png", "base64_data": "aGk="}
    with pytest.raises(Refusal, match="image content"):
        llm.chunks(chat, "", prompt_messages=[{"role": "user", "content": [picture]}])


def test_a_prompt_over_the_context_says_so(llm: Plugin, chat: str) -> None:
    with pytest.raises(Refusal, match="context size") as refusal:
        llm.chunks(chat, "file " * 400)
    assert refusal.value.kind == "InvokeBadRequestError"
