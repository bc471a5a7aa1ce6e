"""A reverse proxy that passes a real server's answers on as an unfriendly network would."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Unfriendly:
    """How answers are passed on. `piece`: bytes in each chunk; `chunked`: else the end of the connection is the end.

    `stops_after`: so many bytes of a body are passed on, and then the connection breaks, or hangs.
    """

    piece: int = 1
    chunked: bool = True
    stops_after: int | None = None
    hangs: bool = False


@contextlib.contextmanager
def relaying(upstream: str, how: Unfriendly) -> Iterator[str]:
    """A proxy on 127.0.0.1 before the server `upstream`; its base URL."""
    ended = threading.Event()
    handler = type("Handler", (_Handler,), {"upstream": urlsplit(upstream).netloc, "how": how, "ended": ended})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: str
    how: Unfriendly
    ended: threading.Event

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        connection = http.client.HTTPConnection(self.upstream)
        headers = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        connection.request("POST", self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header(*(("Transfer-Encoding", "chunked") if self.how.chunked else ("Connection", "close")))
        self.end_headers()
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        stops = self.how.stops_after if self.how.stops_after is not None else len(data)
        for first in range(0, stops, self.how.piece):
            piece = data[first : min(first + self.how.piece, stops)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.how.chunked else piece)
        if self.how.hangs:
            self.ended.wait()
        if self.how.chunked and stops == len(data):
            self.wfile.write(b"0\r\n\r\n")
        # What was not said to be the end is a broken connection.
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        pass
