"""The parts of the served model that need no Triton: its queue, its view of a request, its settings."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import pytest

from edgec.deploy.triton.templates.llama_cpp.generation import Answer, generate
from edgec.deploy.triton.templates.llama_cpp.generation_request import GenerationRequest, generation_request
from edgec.deploy.triton.templates.llama_cpp.refusals import RefusedError
from edgec.deploy.triton.templates.llama_cpp.settings import load_settings
from edgec.deploy.triton.templates.llama_cpp.slots import Slots

HELLO = '[{"role": "user", "content": "Hello"}]'


def present() -> bool:
    return False


def test_slots_serve_in_order_and_refuse_beyond_the_queue() -> None:
    slots = Slots(parallel=1, queue_size=2, timeout_s=30)
    first, second, third = (slots.take_ticket() for _ in range(3))
    with pytest.raises(RefusedError, match="2 requests wait already") as refused:
        slots.take_ticket()
    assert refused.value.code == "UNAVAILABLE"
    slots.wait(first, present)
    assert (second.has_slot, third.has_slot) == (False, False)
    waiting = threading.Thread(target=slots.wait, args=(second, present))
    waiting.start()
    slots.leave(first)
    waiting.join(5)
    assert not waiting.is_alive()
    assert (second.has_slot, third.has_slot) == (True, False)


def test_tools_are_refused_where_the_model_would_not_see_them() -> None:
    tools = json.dumps([{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}])
    asked = {"messages": HELLO, "tools": tools, "tool_choice": "required"}
    assert generation_request(asked, 16).body["tools"] == json.loads(tools)
    with pytest.raises(RefusedError, match="`tools`: this model's chat template shows it no tools"):
        generation_request(asked, 16, takes_tools=False)


def test_who_waits_too_long_or_leaves_gives_its_place_away() -> None:
    slots = Slots(parallel=1, queue_size=2, timeout_s=0.05)
    holder, late, gone = (slots.take_ticket() for _ in range(3))
    with pytest.raises(RefusedError, match="in vain"):
        slots.wait(late, present)
    slots.leave(late)
    with pytest.raises(RefusedError, match="the client has left") as refused:
        slots.wait(gone, lambda: True)
    assert refused.value.code == "CANCELLED"
    slots.leave(gone)
    slots.leave(holder)
    assert slots.take_ticket().has_slot


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"text_input": "a", "temperature": math.nan}, "`temperature` is nan"),
        ({"text_input": "a", "top_p": 0.0}, "`top_p` is 0; it must be from 1e-06 to 1"),
        ({"text_input": "a", "seed": 2**40}, "`seed` is 1099511627776; it must be from 0 to 4294967294"),
        ({"messages": HELLO, "tools": '["search"]'}, "tool 1: not an object with a `function` object"),
        ({"messages": HELLO, "tools": '[{"type": "function"}]'}, "tool 1: not an object with a `function` object"),
        ({"text_input": "a", "stop": ["x", ""]}, "`stop` holds an empty text"),
        ({"messages": "{}"}, "`messages` is no JSON list"),
        ({"messages": "[]"}, "`messages` is empty"),
        ({"messages": "[1]"}, "message 1 is no JSON object"),
        ({"messages": '[{"role": "king", "content": ""}]'}, "`role` is not one of"),
        ({"messages": '[{"role": "user"}]'}, "`content` is not a text"),
        ({"messages": "[" * 100_000}, "`messages` is n"),
        ({"messages": '[{"role": "user", "content": "a"}]', "tool_choice": "any"}, "`tool_choice` is 'any'"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_by_name(inputs: dict[str, object], says: str) -> None:
    with pytest.raises(RefusedError) as refused:
        generation_request(inputs, 16)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "colour"}, "at # has the unknown type 'colour'"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "at #/properties/a has `not`"),
        ({"type": "object", "properties": [1]}, "`properties` of a wrong type"),
        ({"type": "object", "required": ["a"]}, "requires a property"),
        ({"type": "array", "items": {"$ref": "#/$defs/no"}}, "at #/items has a `$ref` that leads nowhere"),
        ({"$ref": "#"}, "leads nowhere"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "leads nowhere"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "do not go from 0 up to 2000"),
        ({"type": "array", "minItems": 2001}, "do not go from 0 up to 2000"),
        ({"type": "array", "minItems": True}, "`minItems` of a wrong type"),
        ({"type": "integer", "minimum": 5, "exclusiveMaximum": 5}, "no integer meets"),
        ({"type": "number", "minimum": 5}, "no integer"),
        ({"type": "string", "pattern": "^(a$"}, "not a plain regular expression"),
        ({"type": "string", "pattern": "^(?!a)b$"}, "not a plain regular expression"),
        ({"type": "string", "format": "iban"}, "`format`"),
        ({"enum": []}, "an empty `enum`"),
        ({"anyOf": [{"type": "null"}, 3]}, "at #/anyOf/1 is no JSON object"),
    ],
)
@pytest.mark.parametrize("ask", [{"text_input": "a"}, {"messages": '[{"role": "user", "content": "a"}]'}])
def test_a_schema_that_llama_cpp_would_not_keep(ask: dict[str, str], schema: object, says: str) -> None:
    with pytest.raises(RefusedError) as refused:
        generation_request({**ask, "json_schema": json.dumps(schema)}, 16)
    assert says in str(refused.value)


def test_a_schema_that_llama_cpp_keeps() -> None:
    schema = {
        "title": "Order", "type": "object", "additionalProperties": False, "required": ["n", "tags"],
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 3},
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        },
        "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8}},
    }  # fmt: skip
    wanted = generation_request({"text_input": "a", "json_schema": json.dumps(schema)}, 16)
    assert wanted.body["json_schema"] == schema


def test_a_request_keeps_what_was_asked() -> None:
    wanted = generation_request({"text_input": "a", "top_k": 0, "seed": 5, "stop": ["b"], "stream": True}, 16)
    assert wanted.stream
    assert not wanted.is_chat
    assert {key: wanted.body[key] for key in ("prompt", "max_tokens", "top_k", "seed", "stop")} == {
        "prompt": "a", "max_tokens": 16, "top_k": 0, "seed": 5, "stop": ["b"],
    }  # fmt: skip


def test_tool_calls_come_together_from_their_parts() -> None:
    answer = Answer()
    parts = [{"id": "c1", "function": {"name": "ls", "arguments": ""}}, {"function": {"arguments": '{"p":'}},
             {"function": {"arguments": "1}"}}]  # fmt: skip
    for part in parts:
        answer.add({"choices": [{"finish_reason": None, "delta": {"tool_calls": [{"index": 0, **part}]}}]})
    call = json.loads(answer.tool_calls_json)[0]
    assert call == {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": '{"p":1}'}}


def test_an_answer_that_was_cut_off_is_refused_as_cancelled() -> None:
    class Gone:
        def is_gone(self) -> bool:
            return True

        def send_text(self, text: str) -> None:
            raise AssertionError(text)

    class Silent:
        def stream(self, body: object, on_event: object, *, is_chat: bool) -> None:
            """llama.cpp's end of a cancelled request: no event."""

    with pytest.raises(RefusedError, match="the client has left"):
        generate(Silent(), GenerationRequest({}, is_chat=False, stream=True), Gone(), Answer())


def write_version(folder: Path, **changes: str) -> Path:
    """A version folder with its model."""
    (folder / "model.gguf").write_bytes(b"")
    values = {"bundle": "a 1", "gguf_path": "../model.gguf", "context": "256", "xllamacpp": "1", **changes}
    (folder / "1").mkdir()
    (folder / "1" / "version.json").write_text(json.dumps(values), encoding="utf-8")
    return folder / "1"


SHARED = {"parameters": {key: {"string_value": value} for key, value in
          {"kind": "decoder", "parallel": "2", "threads": "4", "queue_timeout_ms": "500"}.items()}}  # fmt: skip


def test_a_linked_version_finds_the_model_of_its_own_bundle(tmp_path: Path) -> None:
    version = write_version(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2").symlink_to(version)
    settings = load_settings(SHARED, tmp_path / "elsewhere" / "2")
    assert settings.gguf == (tmp_path / "model.gguf").resolve()
    assert (settings.parallel, settings.queue_timeout_s) == (2, 0.5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"context": "0"}, "`context` is '0', not a whole number above 0"),
        ({"kind": "poet"}, "`kind` is 'poet'"),
        ({"gguf_path": "../no.gguf"}, "is missing; unpack the whole bundle"),
    ],
)
def test_wrong_settings_say_which(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says.split("'", maxsplit=1)[0]):
        load_settings(SHARED, write_version(tmp_path, **changes))
