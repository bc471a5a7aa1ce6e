"""The chat template of an engine's ensemble: the prompts that transformers makes, and what clients get wrong."""

from __future__ import annotations

import json

import pytest

from edgec.deploy.triton.templates.trtllm_preprocessing.chat import ChatTemplate
from edgec.prove.chat_template import CONVERSATIONS, render_chat

# As Llama 3's and others': the first token's text, a refusal, a filter, a loop's end, training's marks.
TEMPLATE = (
    "{% if messages[0].role == 'assistant' %}{{ raise_exception('the user speaks first') }}{% endif %}"
    "{{ bos_token + '' }}{% for m in messages %}{% if loop.index > 3 %}{% break %}{% endif %}"
    "<{{ m['role'] }}>{% generation %}{{ m['content'] | tojson }}{% endgeneration %}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TEXTS = {"bos_token": "<s>"}


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_prompts_are_those_of_the_proof(messages: tuple[dict[str, str], ...]) -> None:
    assert ChatTemplate(TEMPLATE, TEXTS).prompt(json.dumps(messages)) == render_chat(TEMPLATE, messages, TEXTS)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "no JSON list"),
        ('"x"', "no JSON list"),
        ("[]", "is empty"),
        ("[1]", "message 1 is no JSON object"),
        ('[{"role": "user"}]', "message 1: `content` is not a text"),
        ('[{"role": "king", "content": "x"}]', "message 1: `role` is not one of"),
        ('[{"role": ["user"], "content": "x"}]', "message 1: `role` is not one of"),
        ('[{"role": "user", "content": "x", "mood": "bad"}]', "unknown key `mood`"),
        ('[{"role": "assistant", "content": "x"}]', "the user speaks first"),
        ('[{"role": "user", "tool_calls": []}]', "the chat template takes no such `messages`"),
    ],
)
def test_a_clients_mistake_is_a_value_error(messages: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ChatTemplate(TEMPLATE, TEXTS).prompt(messages)
