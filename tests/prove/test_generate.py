"""Chat templates as transformers renders them; the check on answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from proof_models import compile_model, with_template

from edgec.errors import InputError
from edgec.prove.chat_template import render_chat, special_token_texts
from edgec.prove.generate import Answer, check_answers, check_template, samples

USER = [{"role": "user", "content": 'Say "é"'}]
TOKENS = {"bos_token": "<s>"}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_chatml() -> None:
    assert render_chat(CHATML, USER, {}) == '<|im_start|>user\nSay "é"<|im_end|>\n<|im_start|>assistant\n'


def test_what_templates_use_beyond_plain_jinja() -> None:
    template = """{{ bos_token }}{% for m in messages %}
    {%- if m.role == 'x' %}{% continue %}{% endif %}
{% generation %}{{ m | tojson }}{% endgeneration %}
{%- endfor %}
 {{ strftime_now('%d %b %Y') }}"""
    text = render_chat(template, USER, {"bos_token": "<s>"})
    assert text == '<s>{"role": "user", "content": "Say \\"é\\""} 01 Jan 2025'


@pytest.mark.reference
@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        "{{ bos_token }}{% for m in messages %}\n  {% if loop.first %}[INST] {{ m.content }}\n{% endif %}{% endfor %}",
        "{%- for m in messages %}{% generation %}{{ m|tojson(indent=2) }}{% endgeneration %}{% break %}{%- endfor %}",
    ],
)  # fmt: skip
def test_equal_to_transformers(template: str) -> None:
    chat = pytest.importorskip("transformers.utils.chat_template_utils")
    expected = chat._compile_jinja_template(template).render(
        messages=USER, tools=None, documents=None, add_generation_prompt=True, **TOKENS
    )
    assert render_chat(template, USER, TOKENS) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no user turn') }}", "no user turn"),
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_template_that_cannot_or_must_not_run_is_refused(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render_chat(template, USER, {})


def test_special_tokens_from_both_files() -> None:
    files = {
        "tokenizer_config.json": json.dumps({"bos_token": {"content": "<s>"}, "unk_token": None}).encode(),
        "special_tokens_map.json": json.dumps({"eos_token": "</s>", "bos_token": "old"}).encode(),
    }
    assert special_token_texts(files) == {"bos_token": "<s>", "eos_token": "</s>"}
    assert special_token_texts({}) == {}


@pytest.mark.parametrize(
    ("artifact", "reference", "passed"),
    [
        (b"Paris", b"Paris.", True),
        (b"", b"", True),
        (b" \n", b"Paris", False),
        ("é".encode()[:1], b"e", True),
        (b"\xff\xfe", b"e", False),
    ],
)
def test_empty_and_garbled_answers_fail(artifact: bytes, reference: bytes, passed: bool) -> None:
    answers = [Answer("Hello", artifact, reference)]
    assert check_answers(answers).passed is passed
    assert samples(answers)[0].text == artifact.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content | trim }}{% endfor %}",
        "{% if messages|length > 1 %}{{ raise_exception('one turn only') }}{% endif %}{{ messages[0]['content'] }}",
        "{%- if tools %}tools{% endif -%}{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
    ],
)  # fmt: skip
def test_llama_cpp_renders_the_same(tmp_path: Path, template: str) -> None:
    """A date, a refused conversation and JSON: the server's own jinja against jinja2."""
    model = compile_model(tmp_path, "q8_0", change_vocabulary=with_template(template))
    files = {"tokenizer_config.json": json.dumps({"bos_token": "<|endoftext|>"}).encode()}
    check = check_template(model, template, files)
    assert check.passed, check.detail


def test_template_with_which_the_server_does_not_start_fails(tmp_path: Path) -> None:
    """llama.cpp's server tries the template at its start; this one it cannot run, and a device could not serve it."""
    template = "{{ messages | tojson }}"
    model = compile_model(tmp_path, "q8_0", change_vocabulary=with_template(template))
    check = check_template(model, template, {})
    assert not check.passed
    assert "llama.cpp gives a refusal" in check.detail
