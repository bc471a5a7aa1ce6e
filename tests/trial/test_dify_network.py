"""What goes wrong between the plugin and its server: keys, addresses, loading, and networks that cut and break."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from dify_case import CHATML, SERVER_KEY, Plugin, plugin_of, served_model, text_of
from relay import Unfriendly, relaying

from edgec.toolchain.environments import Environment
from edgec.trial.dify_process import Refusal
from edgec.trial.llama_server import serving

pytestmark = pytest.mark.toolchain

SCRIPTS = "naïve漢字🚀"


def validate(plugin: Plugin, url: str, key: str = "") -> str:
    """What the operator reads below the form; empty when the credentials are good."""
    credentials = {"endpoint_url": url, "api_key": key}
    try:
        plugin.process.ask("validate_provider_credentials", credentials=credentials)
    except Refusal as error:
        refusal = error
    else:
        return ""
    assert refusal.kind == "CredentialsValidateFailedError"
    return refusal.message


def test_a_key(llm: Plugin, locked_chat: str) -> None:
    assert validate(llm, locked_chat, SERVER_KEY) == ""
    assert text_of(llm.chunks(locked_chat, "Hello", key=SERVER_KEY))
    assert validate(llm, locked_chat, f" {SERVER_KEY}\n") == "", "a key that was pasted"


def test_a_wrong_key(llm: Plugin, locked_chat: str) -> None:
    assert "refuses the API key" in validate(llm, locked_chat, "sk-wrong")
    assert "wants an API key" in validate(llm, locked_chat)
    assert "paste it again" in validate(llm, locked_chat, "sk-ключ")
    with pytest.raises(Refusal, match="refuses the API key") as refusal:
        llm.chunks(locked_chat, "Hello", key="sk-wrong")
    assert refusal.value.kind == "InvokeAuthorizationError"
    assert "sk-wrong" not in refusal.value.message


def test_a_server_that_is_down(llm: Plugin, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    assert f"no server answers at {url}" in validate(llm, url)
    for stream in (True, False):
        with pytest.raises(Refusal, match="localhost is the container itself") as refusal:
            llm.chunks(url, "Hello", stream=stream)
        assert refusal.value.kind == "InvokeConnectionError"


def test_tokens_are_guessed_without_a_server(llm: Plugin, free_port: int) -> None:
    messages = [{"role": "user", "content": "word " * 100}]
    model = llm.request(f"http://127.0.0.1:{free_port}")
    counted = llm.process.ask("get_llm_num_tokens", **model, prompt_messages=messages, tools=None)
    assert 100 <= counted["num_tokens"] <= 250


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "the endpoint URL is missing"),
        ("ftp://host/v1", "not the base URL"),
        ("http://host:port/v1", "not the base URL"),
        ("http://[::1/v1", "not the base URL"),
        ("http://host/v1?x=1", "not the base URL"),
        ("http://no-such-host.invalid/v1", "no server answers"),
    ],
)
def test_an_address_that_is_none(llm: Plugin, typed: str, message: str) -> None:
    assert message in validate(llm, typed)


def test_an_address_with_a_wrong_path(llm: Plugin, chat: str) -> None:
    assert "must be the base URL" in validate(llm, f"{chat}/v1/chat/completions")


def test_a_model_that_is_still_loading(llm: Plugin, docs_llama: Path, free_port: int, tmp_path: Path) -> None:
    """A server answers already while it loads its model and clears a large cache, for about a second."""
    served: Any = {"kind": "decoder", "context": 1 << 17, "threads": 1, "log": tmp_path / "log", "port": free_port}
    for _ in range(5):
        with serving(docs_llama, wait=False, **served) as url:
            if not _is_loading(url):
                continue  # it was quicker than this test
            try:
                llm.chunks(url, "Hello")
            except Refusal as error:
                refusal = error
                assert validate(llm, url) == "", "saving the credentials waits for the model"
                break
    assert refusal.kind == "InvokeServerUnavailableError"
    assert "still loading its model; try again" in refusal.message


def _is_loading(url: str) -> bool:
    """Waits until the server listens; whether it has not loaded its model then."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 503
        except OSError:
            time.sleep(0.005)
        else:
            return False
    pytest.fail("the server does not listen")


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
@pytest.mark.parametrize("chunked", [True, False])
def test_characters_that_are_cut_by_the_network(tool_llm: Plugin, parrot: str, piece: int, chunked: bool) -> None:
    with relaying(parrot, Unfriendly(piece=piece, chunked=chunked)) as url:
        deltas = tool_llm.chunks(url, "Say Y")
    assert text_of(deltas) == SCRIPTS
    assert deltas[-1]["finish_reason"] == "stop"
    assert deltas[-1]["usage"]["completion_tokens"] > 10


@pytest.mark.parametrize(("chunked", "stream"), [(True, True), (False, True), (True, False)])
def test_an_answer_without_its_end_is_an_error(tool_llm: Plugin, parrot: str, chunked: bool, stream: bool) -> None:
    with (
        relaying(parrot, Unfriendly(piece=50, chunked=chunked, stops_after=300)) as url,
        pytest.raises(Refusal, match="broke off in the middle") as refusal,
    ):
        tool_llm.chunks(url, "Say Y", stream=stream)
    assert refusal.value.kind == "InvokeServerUnavailableError"


def test_a_server_that_falls_silent(sdk: Environment, chat: str, tmp_path: Path) -> None:
    model = served_model("decoder", context=256, chat_template=CHATML)
    with (
        plugin_of(sdk.python, tmp_path, model, MAX_REQUEST_TIMEOUT="3") as plugin,
        relaying(chat, Unfriendly(piece=50, stops_after=600, hangs=True)) as url,
        pytest.raises(Refusal, match="said nothing for 3 s") as refusal,
    ):
        plugin.chunks(url, "Hello", model_parameters={"max_tokens": 2})
    assert refusal.value.kind == "InvokeConnectionError"


def test_two_at_once(llm: Plugin, chat: str) -> None:
    """The second request is sent before the first one is answered."""
    request = {
        **llm.request(chat), "prompt_messages": [{"role": "user", "content": "Hello"}], "stop": None, "tools": None,
        "model_parameters": {"max_tokens": 4, "temperature": 0}, "stream": True,
    }  # fmt: skip
    first = llm.process.call("invoke_llm", **request)
    begun = next(first)["delta"]
    second = [chunk["delta"] for chunk in llm.process.call("invoke_llm", **request)]
    assert text_of([begun, *(chunk["delta"] for chunk in first)]) == text_of(second) != ""
