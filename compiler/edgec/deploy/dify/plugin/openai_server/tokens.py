"""How many tokens a text has: by the server's own tokenizer, else by a guess.

Rule: never by the SDK's gpt2, which it downloads from the internet. A count must not fail: the request that follows
shows what is wrong with the server.
"""

import json
import math

from dify_plugin.errors.model import InvokeError

from openai_server.connection import Connection, Json

_TIMEOUT_S = 10.0
# A guess: English has about 4 bytes per token, Chinese 3 bytes per character and token.
_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 4
# What a tokenizer may add to a text: start, end, a space before the first word.
_ADDED_TOKENS = 4


def guess(text: str) -> int:
    """A rough count, without the server."""
    return math.ceil(len(text.encode()) / _BYTES_PER_TOKEN)


def count_texts(connection: Connection, texts: list[str]) -> list[int]:
    """The tokens of each text, special ones included."""
    counts: list[int] = []
    for text in texts:
        counted = _tokenized(connection, text)
        if counted is None:
            return counts + [guess(text) for text in texts[len(counts) :]]
        counts.append(counted)
    return counts


def count_prompt(connection: Connection, prompt: Json) -> int:
    """The tokens of a prompt: of `messages`, with `tools`, by the model's own chat template, or of a plain `prompt`."""
    if "prompt" in prompt:
        return count_texts(connection, [prompt["prompt"]])[0]
    try:
        text = connection.ask("/apply-template", prompt, timeout_s=_TIMEOUT_S).get("prompt")
    except InvokeError:
        text = None
    counted = _tokenized(connection, text) if isinstance(text, str) else None
    if counted is not None:
        return counted
    shown = [str(message.get("content") or "") for message in prompt["messages"]]
    shown += [json.dumps(tool, ensure_ascii=False) for tool in prompt.get("tools", [])]
    return sum(guess(text) + _TOKENS_PER_MESSAGE for text in shown)


def cut(connection: Connection, text: str, limit: int) -> str:
    """The beginning of a text that has `limit` tokens at most; servers refuse a longer one."""
    while len(text.encode()) + _ADDED_TOKENS > limit:  # a token has one byte at least
        (counted,) = count_texts(connection, [text])
        if counted <= limit:
            break
        text = text[: min(len(text) * limit // counted, len(text) - 1)]
    return text


def _tokenized(connection: Connection, text: str) -> int | None:
    """The count by llama.cpp's `/tokenize`; None from another server."""
    body = {"content": text, "add_special": True, "parse_special": True}
    try:
        tokens = connection.ask("/tokenize", body, timeout_s=_TIMEOUT_S).get("tokens")
    except InvokeError:
        return None
    return len(tokens) if isinstance(tokens, list) else None
