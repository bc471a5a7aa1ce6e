"""One server with its key: JSON in, JSON or a stream of JSON out.

Rule: a failure is one of Dify's errors, from `failures`; no answer is waited for without a limit.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import requests
from dify_plugin import DifyPluginEnv
from dify_plugin.errors.model import InvokeAuthorizationError, InvokeBadRequestError, InvokeError
from urllib3.exceptions import ReadTimeoutError

from openai_server import failures
from openai_server.address import Address, read_address
from openai_server.events import payloads

# What the operator types, by the names in the provider's YAML.
ENDPOINT_URL = "endpoint_url"
API_KEY = "api_key"

_CONNECT_TIMEOUT_S = 10.0
_RETRY_S = 1.0
# Chunks of a chunked answer are passed on as they come, up to this length.
_PIECE_BYTES = 65536

Json = dict[str, Any]


class Connection:
    """A server as an operator named it."""

    def __init__(self, address: Address, key: str) -> None:
        self.address = address
        self.key = key

    @classmethod
    def of(cls, credentials: Mapping[str, Any]) -> "Connection":
        """The server of a provider's credentials. Raises InvokeBadRequestError, InvokeAuthorizationError."""
        try:
            address = read_address(credentials.get(ENDPOINT_URL))
        except ValueError as error:
            raise InvokeBadRequestError(str(error)) from error
        key = str(credentials.get(API_KEY) or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise InvokeAuthorizationError("the API key holds characters that no key has: paste it again")
        return cls(address, key)

    def ask(self, path: str, body: Json, *, patience_s: float = 0.0, timeout_s: float | None = None) -> Json:
        """The JSON answer to a POST. Raises InvokeError.

        `patience_s`: how long to go on asking a server that still loads its model.
        """
        url, until = self.address.url(path), time.monotonic() + patience_s
        while True:
            with closing(self._post(path, body, timeout_s=timeout_s, stream=False)) as response:
                status, content = response.status_code, response.content
            if failures.is_loading(status, content) and time.monotonic() < until:
                time.sleep(_RETRY_S)
                continue
            if status != requests.codes.ok:
                raise failures.refusal(url, status, content, with_key=bool(self.key))
            return self._object(url, response)

    def stream(self, path: str, body: Json) -> Iterator[Json]:
        """The objects of a streaming answer to a POST, as they come. Raises InvokeError, also in the middle."""
        url = self.address.url(path)
        with closing(self._post(path, body, timeout_s=None, stream=True)) as response:
            try:
                if response.status_code != requests.codes.ok:
                    raise failures.refusal(url, response.status_code, response.content, with_key=bool(self.key))
                # Without chunks (an old proxy), a longer read would wait until so many bytes are there.
                for payload in payloads(response.iter_content(_PIECE_BYTES if response.raw.chunked else 1)):
                    if payload.get("error"):
                        raise failures.failed_midway(url, payload)
                    yield payload
            except requests.RequestException as error:
                raise self._network_failure(url, error, _limit_s()) from error
            except ValueError as error:
                raise failures.not_understood(url, str(error)) from error

    def _post(self, path: str, body: Json, *, timeout_s: float | None, stream: bool) -> requests.Response:
        url, limit_s = self.address.url(path), timeout_s or _limit_s()
        try:
            return requests.post(
                url, json=body, auth=self._authorize, stream=stream, allow_redirects=False,
                timeout=(min(_CONNECT_TIMEOUT_S, limit_s), limit_s),
            )  # fmt: skip
        except requests.RequestException as error:
            raise self._network_failure(url, error, limit_s) from error

    def _network_failure(self, url: str, error: requests.RequestException, limit_s: float) -> InvokeError:
        # In the middle of a body, requests calls a time-out a broken connection.
        if isinstance(error, requests.ReadTimeout) or isinstance(error.__context__, ReadTimeoutError):
            return failures.silent(url, limit_s)
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return failures.broken_off(url, error)
        return failures.unreachable(self.address, error)

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the key, if there is one. With this in its place, requests does not look for one in ~/.netrc."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    @staticmethod
    def _object(url: str, response: requests.Response) -> Json:
        try:
            answer = response.json()
        except ValueError as error:
            raise failures.not_understood(url, "the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise failures.not_understood(url, "the answer is no JSON object")
        return answer


def _limit_s() -> float:
    """How long a server may say nothing: what Dify's daemon sets for its plugins."""
    return float(DifyPluginEnv().MAX_REQUEST_TIMEOUT)
