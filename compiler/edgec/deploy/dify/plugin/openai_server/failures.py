"""What went wrong at the server, as the error that Dify knows, in words an operator can act on.

Rule: every text names the URL and says what to do; an API key never stands in one.
"""

import json
from typing import Any

from dify_plugin.errors.model import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from openai_server.address import EXAMPLE, Address

_SHOWN_CHARS = 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NO_METHOD, _TOO_MANY, _SERVER = 401, 403, 404, 405, 429, 500
_UNAVAILABLE = 503


def is_loading(status: int, body: bytes) -> bool:
    """Whether llama.cpp's server says that its model is not loaded yet."""
    return status == _UNAVAILABLE and "loading model" in said(body).lower()


def refusal(url: str, status: int, body: bytes, *, with_key: bool) -> InvokeError:
    """The error for an answer that is not 200."""
    text = said(body)
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        why = "refuses the API key" if with_key else "wants an API key"
        return InvokeAuthorizationError(f"{url} {why}: set the server's key in the provider's settings")
    if is_loading(status, body):
        return InvokeServerUnavailableError(f"{url}: the server is still loading its model; try again in a minute")
    if 300 <= status < 400:
        return InvokeBadRequestError(f"{url} answers with a redirect: use the address that it leads to")
    if status in (_NOT_FOUND, _NO_METHOD):
        return InvokeBadRequestError(
            f"{url} does not exist ({status}: {text}): the endpoint URL must be the base URL of an "
            f"OpenAI-compatible server, for example {EXAMPLE}"
        )
    if status == _TOO_MANY:
        return InvokeRateLimitError(f"{url} has too much to do: {text}")
    # llama.cpp answers 501 for what it was not started for: the text names the option.
    if status < _SERVER or status == 501:
        return InvokeBadRequestError(f"{url} refuses the request ({status}): {text}")
    return InvokeServerUnavailableError(f"{url} failed ({status}): {text}; see the server's log")


def failed_midway(url: str, payload: dict[str, Any]) -> InvokeError:
    """The error for an `error` in a stream that had begun well; llama.cpp's says its status."""
    error = payload["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return refusal(url, code if isinstance(code, int) else _SERVER, json.dumps(payload).encode(), with_key=True)


def unreachable(address: Address, error: Exception) -> InvokeError:
    """The error for a connection that did not come about, or broke."""
    hint = "start the server, and check its host and port"
    if address.is_loopback:
        hint = (
            "inside Dify's containers, localhost is the container itself: use the device's address in the network, "
            "and start the server with --host 0.0.0.0"
        )
    return InvokeConnectionError(f"no server answers at {address.root}: {hint} ({_reason(error)})")


def silent(url: str, waited_s: float) -> InvokeError:
    """The error for a server that took the request and then said nothing."""
    return InvokeConnectionError(
        f"{url} said nothing for {waited_s:.0f} s: the server hangs, or the prompt is too long for this device"
    )


def broken_off(url: str, error: Exception | None = None) -> InvokeError:
    """The error for a streaming answer without its end."""
    why = f" ({_reason(error)})" if error else ""
    return InvokeServerUnavailableError(f"{url} broke off in the middle of an answer{why}; see the server's log")


def not_understood(url: str, what: str) -> InvokeError:
    """The error for an answer that no OpenAI-compatible server gives."""
    return InvokeBadRequestError(
        f"{url}: {what}; the endpoint URL must be the base URL of an OpenAI-compatible server, for example {EXAMPLE}"
    )


def said(body: bytes) -> str:
    """What an error answer says: OpenAI's `error.message`, else its text, cut."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        return error_text(json.loads(text))
    except ValueError:
        return text[:_SHOWN_CHARS] or "no text"


def error_text(answer: Any) -> str:
    """The message of a JSON answer that has an `error`, which is an object or a text."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:_SHOWN_CHARS]


def _reason(error: Exception) -> str:
    """The innermost cause: `Connection refused` rather than three nested texts with addresses of objects."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__ or getattr(inner, "reason", None)) is not None:
        if not isinstance(cause, BaseException):
            break
        inner = cause
    return str(getattr(inner, "strerror", None) or inner)[:_SHOWN_CHARS]
