"""Turns what huggingface_hub and HTTP raise into errors a person can act on.

Rule: no message holds a token, a header or the query of a signed URL.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from edgec.errors import EdgecError, InputError, ToolError

T = TypeVar("T")

TRIES = 4
# The hub's rate limits are counted in windows of 300 seconds; a longer wait is for a person to decide.
MAX_WAIT_S = 300.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_AGAIN = "try again later; what was downloaded is kept, and the build goes on from there"


@contextlib.contextmanager
def hub_errors(place: str) -> Iterator[None]:
    """Turns every expected failure of a call to the hub into an `EdgecError`. `place`: repository, commit, file."""
    try:
        yield
    except EdgecError:
        raise
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise explain(error, place) from error


def retried(call: Callable[[], T], waiting: Callable[[float], None]) -> T:
    """The result of `call`, tried again at most 3 times after 408, 429 and 5xx.

    Waits as long as the hub asks (`Retry-After` or `RateLimit`, at most 300 s, else it gives up) or 0.5, 1, 2 s.
    `waiting` is told the seconds before each wait of more than two.
    """
    for attempt in range(1, TRIES):
        try:
            return call()
        except HfHubHTTPError as error:
            wait_s = _wait_s(error, attempt)
            if wait_s is None:
                raise
        if wait_s > 2:
            waiting(wait_s)
        time.sleep(wait_s)
    return call()


def explain(error: Exception, place: str) -> EdgecError:
    """The `EdgecError` for a failure of a call to the hub."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, (HfHubHTTPError, httpx2.HTTPError)):
        return explain(error.__cause__, place)
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error, place)
    if isinstance(error, httpx2.TimeoutException):
        return ToolError.of("the hub did not answer in time", hint=f"check the network; {_AGAIN}", place=place)
    if isinstance(error, (httpx2.ConnectError, httpx2.ProxyError, httpx2.InvalidURL, httpx2.UnsupportedProtocol)):
        return ToolError.of(
            f"no connection to the hub: {error}",
            hint="check the network, the proxy and HF_ENDPOINT, or build with --offline what is in the cache",
            place=place,
        )
    if isinstance(error, httpx2.HTTPError):
        return ToolError.of(f"the connection broke: {type(error).__name__}", hint=_AGAIN, place=place)
    if isinstance(error, HFValidationError):
        return InputError.of("this is not a name of a repository", hint="write `owner/name`", place=place)
    if isinstance(error, OfflineModeIsEnabled):
        return InputError.of(
            "HF_HUB_OFFLINE forbids connections", hint="unset it, or build with --offline from the cache", place=place
        )
    return _explain_os(error, place)


def _explain_status(error: HfHubHTTPError, place: str) -> EdgecError:
    status = error.response.status_code
    if isinstance(error, GatedRepoError) or status == 403:
        return InputError.of(
            f"access to this model is restricted (HTTP {status})",
            hint="accept its licence on its page on the hub, then set HF_TOKEN to a read token of that account",
            place=place,
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError.of("the repository has no such commit", hint="copy the commit from its history", place=place)
    if isinstance(error, RemoteEntryNotFoundError):
        return InputError.of("the commit has no such file", hint="use a commit that is complete", place=place)
    if isinstance(error, RepositoryNotFoundError) or status in {401, 404}:
        token = (
            "HF_TOKEN is set: check that it is valid and may read this repository"
            if os.environ.get("HF_TOKEN")
            else "if it is private or gated, set HF_TOKEN"
        )
        return InputError.of(
            f"the hub has no such repository, or you may not see it (HTTP {status})",
            hint=f"check the name's spelling (owner/name); {token}",
            place=place,
        )
    if status == 429:
        asked = _asked_wait_s(error)
        when = f"in {asked:.0f} s" if asked is not None else "later"
        return ToolError.of(
            "the hub limits the rate of requests (HTTP 429)",
            hint=f"try again {when}; with HF_TOKEN set the limits are higher",
            place=place,
        )
    if status >= 500:
        return ToolError.of(
            f"the hub failed (HTTP {status})", hint=f"see https://status.huggingface.co; {_AGAIN}", place=place
        )
    return ToolError.of(f"the hub refused the request (HTTP {status})", hint="check HF_ENDPOINT", place=place)


def _explain_os(error: Exception, place: str) -> EdgecError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ToolError.of(
            "no space left on the disk of the Hugging Face cache",
            hint="free space (`hf cache rm` removes models), or set HF_HOME to a larger disk",
            place=place,
        )
    if isinstance(error, OSError) and error.errno is not None:
        return ToolError.of(
            f"the Hugging Face cache cannot be used: {error.strerror}",
            hint="set HF_HOME to a folder you may write to",
            place=f"{place}: {error.filename}" if error.filename else place,
        )
    return ToolError.of(
        f"fetching failed: {str(error).split('?', maxsplit=1)[0][:200]}", hint="check HF_ENDPOINT", place=place
    )


def _wait_s(error: HfHubHTTPError, attempt: int) -> float | None:
    """Seconds before the next try; None when another try is of no use."""
    if error.response.status_code not in _TRANSIENT:
        return None
    asked = _asked_wait_s(error)
    if asked is None:
        return float(2 ** (attempt - 2))
    return asked if asked <= MAX_WAIT_S else None


def _asked_wait_s(error: HfHubHTTPError) -> float | None:
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
