"""The site of an unpacked bundle on 127.0.0.1, with or without the headers that give a page threads.

Rule: it serves what nginx.conf and the Caddyfile serve, below `site/` and the weights' folder, and
notes what was asked for.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from edgec.deploy.web.apps import APPS
from edgec.deploy.web.headers import ISOLATION, MEDIA_TYPES

_FOLDERS = ("/site/", *(f"/{served}/" for served in APPS))
_FILES = tuple(path for app in APPS.values() for path in app.carried)


@dataclass
class WebSite:
    """A served site. `missing`: the paths that were asked for and are not there."""

    port: int
    missing: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Scheme, address and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def page(self) -> str:
        """The address of the page."""
        return f"{self.origin}/site/"


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {"": "application/octet-stream", **dict(MEDIA_TYPES)}  # noqa: RUF012 - the base class's own kind
    # With HTTP/1.0 every one of a page's requests is a connection.
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: object, missing: list[str], headers: tuple[tuple[str, str], ...], directory: str):
        self._missing = missing
        self._added = headers
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        # A browser that leaves in the middle of a file is no mishap.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().do_GET()

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        path = posixpath.normpath(unquote(urlsplit(self.path).path))
        # With its last slash, which `normpath` takes off.
        if not f"{path}/".startswith(_FOLDERS) and path not in _FILES:
            self.send_error(404)
            return None
        return super().send_head()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._missing.append(self.path)
        super().send_error(code, message, explain)

    def end_headers(self) -> None:
        for name, value in self._added:
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Nothing on the terminal."""


@contextlib.contextmanager
def web_site(bundle: Path, *, isolated: bool) -> Iterator[WebSite]:
    """Serves the unpacked bundle until the block ends. `isolated`: with the headers that threads need."""
    missing: list[str] = []
    headers = ISOLATION if isolated else ()
    handler = partial(_Handler, missing=missing, headers=headers, directory=str(bundle))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="web-site", daemon=True)
        thread.start()
        try:
            yield WebSite(server.server_port, missing)
        finally:
            server.shutdown()
            thread.join()
