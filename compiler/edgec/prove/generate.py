"""Greedy answers to a few prompts, through the model's own chat template, for people to read and for one check.

Rule: the template is rendered as transformers does (jinja2, sandboxed, same filters), with a fixed date, so that the
same model gives the same text on every day.
"""

from __future__ import annotations

import codecs
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from edgec.errors import InputError
from edgec.formats.gguf.runtime.client import LlamaProcess, server_prompts
from edgec.prove.model import Check, Sample

PROMPTS = (
    "What is the capital of France?",
    "Write a short note about the sea.",
    "How do I list the files of a folder in Python?",
)
# What the chat template is compared on: one turn, and a conversation with quotes, markup and other scripts.
CONVERSATIONS: tuple[tuple[dict[str, str], ...], ...] = (
    ({"role": "user", "content": PROMPTS[0]},),
    (
        {"role": "user", "content": 'Say "<b>é</b>" & nothing else.'},
        {"role": "assistant", "content": "你好 {{ x }}"},
        {"role": "user", "content": "Thanks!\n\n  Again?"},
    ),
)
SAMPLE_TOKENS = 48
# Templates that ask for the date get this one.
_DATE = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
# A template is a program: what it can raise beside jinja2's own errors.
_TEMPLATE_FAULTS = (jinja2.TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class Answer:
    """One prompt and what both models write after it, as raw bytes of UTF-8."""

    prompt: str
    artifact: bytes
    reference: bytes


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant wrote, for training; for a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """The block's content, without the marks."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def template_environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """jinja2 set up to read a chat template as transformers does; what a template may call is added to render it."""
    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tokens: Mapping[str, str],
    now: datetime.datetime = _DATE,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """The prompt text for `messages` (role, content), ready for the assistant's turn. `tokens`: bos_token and the like.

    `tools`: functions the model may call, as OpenAI's API describes them.
    Raises InputError when the template is wrong or refuses the messages.
    """
    environment = template_environment()
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = now.strftime
    try:
        return environment.from_string(template).render(
            messages=messages, tools=tools, documents=None, add_generation_prompt=True, **tokens
        )
    except _TEMPLATE_FAULTS as error:
        raise InputError.of(
            f"the chat template cannot be rendered: {error}",
            hint="give a working template: artifacts[].tokenizer.chat_template",
        ) from error


def special_token_texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The texts of bos_token, eos_token and the like, from tokenizer_config.json and special_tokens_map.json."""
    texts: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        entries: Any = json.loads(files.get(file, b"{}"))
        for name in _TOKEN_NAMES:
            value = entries.get(name)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                texts[name] = text
    return texts


def check_template(model: Path, template: str, files: Mapping[str, bytes], *, logs: Path | None = None) -> Check:
    """The runtime's server makes the same prompts of the chat template as transformers does, or refuses the same.

    `logs`: the folder for llama.cpp's output.
    """
    tokens = special_token_texts(files)
    # The server writes today's date: rendered before and after, in case midnight lies between.
    before = _expected(template, tokens)
    found = server_prompts(model, CONVERSATIONS, logs=logs)
    after = _expected(template, tokens)
    # The server leaves a BOS out that the template writes, because tokenizing adds it.
    bos = tokens.get("bos_token", "")
    wrong = [
        (first, prompt)
        for first, second, prompt in zip(before, after, found, strict=True)
        if _without(bos, prompt) not in (_without(bos, first), _without(bos, second))
    ]
    return Check(
        name="chat template",
        measured=len(wrong),
        threshold=0,
        relation="==",
        unit=f"different prompts of {len(CONVERSATIONS)}",
        passed=not wrong,
        detail="".join(f"expected {_shown(e)}, llama.cpp gives {_shown(f)}" for e, f in wrong[:1]),
        hint="give a template that llama.cpp renders the same: artifacts[].tokenizer.chat_template",
    )


def _expected(template: str, tokens: Mapping[str, str]) -> list[str | None]:
    """The prompts of all conversations, with today's date in the server's time zone; None where one is refused."""
    now = datetime.datetime.now().astimezone()
    prompts: list[str | None] = []
    for messages in CONVERSATIONS:
        try:
            prompts.append(render_chat(template, messages, tokens, now))
        except InputError:
            prompts.append(None)
    return prompts


def _shown(prompt: str | None) -> str:
    return "a refusal" if prompt is None else repr(prompt)


def _without(bos: str, prompt: str | None) -> str | None:
    return None if prompt is None else prompt.removeprefix(bos)


def answers(
    artifact: LlamaProcess, reference: LlamaProcess, template: str | None, files: Mapping[str, bytes]
) -> list[Answer]:
    """What both models write after each prompt; without a template the prompt is plain text to continue."""
    found = []
    for prompt in PROMPTS:
        text = prompt
        if template is not None:
            text = render_chat(template, [{"role": "user", "content": prompt}], special_token_texts(files))
        tokens = _prompt_tokens(reference, text, plain=template is None)
        if len(tokens) < reference.info().n_ctx:
            written = [p.detokenize(p.generate(tokens, SAMPLE_TOKENS)) for p in (artifact, reference)]
            found.append(Answer(prompt, *written))
    return found


def samples(found: Sequence[Answer]) -> tuple[Sample, ...]:
    """The artifact's answers; bytes that are no UTF-8 are shown as U+FFFD."""
    return tuple(Sample(prompt=a.prompt, text=a.artifact.decode("utf-8", "replace")) for a in found)


def check_answers(found: Sequence[Answer]) -> Check:
    """No answer is invalid UTF-8, or empty where the reference writes something.

    What an answer says is for people: a small model may repeat itself and be healthy.
    """
    bad = [a.prompt for a in found if not _is_text(a.artifact) or (a.reference.strip() and not a.artifact.strip())]
    return Check(
        name="greedy text",
        measured=len(bad),
        threshold=0,
        relation="==",
        unit=f"empty or invalid answers of {len(found)}",
        passed=not bad,
        detail="; ".join(bad),
        hint="choose a finer quantization scheme, or check the chat template",
    )


def _is_text(data: bytes) -> bool:
    """Whether `data` is UTF-8, the end of which may be cut inside a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=False)
    except UnicodeDecodeError:
        return False
    return True


def _prompt_tokens(llama: LlamaProcess, text: str, *, plain: bool) -> list[int]:
    """Ids of a prompt; a template writes BOS itself or leaves it to the runtime, which then adds it once."""
    info = llama.info()
    if plain:
        return llama.tokenize(text, add_special=True, parse_special=False)
    tokens = llama.tokenize(text, add_special=False, parse_special=True)
    bos = info.special.get("bos")
    return [bos, *tokens] if info.add_bos and bos is not None and tokens[:1] != [bos] else tokens


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
