"""Greedy answers to a few prompts, through the model's own chat template, for people to read and for one check.

Rule: what a person reads is what the runtime wrote, byte by byte.
"""

from __future__ import annotations

import codecs
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import InputError
from edgec.formats.gguf.runtime.client import LlamaProcess, server_prompts
from edgec.prove.chat_template import CONVERSATIONS, PROMPTS, render_chat, special_token_texts
from edgec.prove.model import Check, Sample

SAMPLE_TOKENS = 48


@dataclass(frozen=True)
class Answer:
    """One prompt and what both models write after it, as raw bytes of UTF-8."""

    prompt: str
    artifact: bytes
    reference: bytes


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
