"""HTTP to a server on 127.0.0.1, as a client of it would speak: JSON, and server-sent events one by one.

Rule: the standard library only, because `edgec verify` needs nothing else; every call has a time limit.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import ToolError

_TIMEOUT_S = 120.0
_DATA = b"data: "


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status == http.client.OK

    def json(self) -> dict[str, Any]:
        """The JSON object in it. Raises ToolError."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ToolError.of(f"the server answered {self.status} with what is no JSON object: {self.body[:200]!r}")
        return value


@dataclass(frozen=True)
class HttpClient:
    """A server's address. Methods raise ToolError when there is no answer within `timeout_s`."""

    port: int
    timeout_s: float = _TIMEOUT_S

    def is_ok(self, path: str) -> bool:
        """Whether GET `path` answers 200; False also when nobody listens."""
        try:
            return self.get(path).is_ok
        except ToolError:
            return False

    def get(self, path: str) -> Reply:
        """GET `path`."""
        with self._asked("GET", path, None) as answer:
            return Reply(answer.status, answer.read())

    def post(self, path: str, body: Mapping[str, Any] | bytes) -> Reply:
        """POST `body`, JSON or as it is, to `path`."""
        with self._asked("POST", path, body) as answer:
            return Reply(answer.status, answer.read())

    @contextlib.contextmanager
    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """POST `body`; the server-sent events of the answer as they come. Leaving the block closes the connection."""
        with self._asked("POST", path, body) as answer:
            yield _events(answer)

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            # Both hold the socket: it is closed when both are.
            with connection.getresponse() as answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise ToolError.of(f"no answer to {method} {path} on port {self.port}: {error!r}") from error
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Also an answer that is one JSON object, as errors are."""
    for line in answer:
        text = line.removeprefix(_DATA).strip()
        if text:
            yield json.loads(text)
