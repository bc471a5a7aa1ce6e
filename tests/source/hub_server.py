"""A small real hub on 127.0.0.1: the routes of huggingface.co that downloading a pinned commit uses.

Rule: it answers as the hub does (redirect to a storage host for LFS files, ranges, error codes in X-Error-Code) and
writes down every request, so that a test can say what went over the wire. Faults are switched on per test.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REPO = "acme/docs-llama"
COMMIT = "1234567890abcdef1234567890abcdef12345678"


@dataclass(frozen=True)
class Request:
    """One request as it came in, and how many body bytes went out for it."""

    host: str
    method: str
    path: str
    range: str | None
    authorization: str | None
    user_agent: str | None
    sent_bytes: int


@dataclass
class Faults:
    """What goes wrong. Lists are used up from the front."""

    # Status and headers of the next answers, instead of the right ones.
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    # The storage host closes the connection after so many bytes of a body.
    cut_after: list[int] = field(default_factory=list)
    # These bytes are sent instead of the file's, under its name and digest.
    swapped: dict[str, bytes] = field(default_factory=dict)
    ignore_ranges: bool = False
    required_token: str | None = None
    gated: bool = False


class HubServer:
    """The hub and, on a port of its own, the storage host that LFS files are redirected to."""

    def __init__(
        self,
        files: dict[str, bytes],
        *,
        lfs: tuple[str, ...] = (".safetensors",),
        repo: str = REPO,
        commit: str = COMMIT,
    ) -> None:
        self.files = files
        self.repo, self.commit = repo, commit
        self.lfs = lfs
        self.faults = Faults()
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._active = 0
        self._servers = [self._start("hub"), self._start("storage")]
        self.url, self.storage_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def requests(self) -> list[Request]:
        """The requests so far, once all are answered: a client may be gone before the last one is written down."""
        with self._idle:
            assert self._idle.wait_for(lambda: self._active == 0, timeout=10)
            return list(self._requests)

    def forget_requests(self) -> None:
        """Begin a new list of requests."""
        with self._idle:
            assert self._idle.wait_for(lambda: self._active == 0, timeout=10)
            self._requests.clear()

    def begin(self) -> None:
        with self._idle:
            self._active += 1

    def end(self) -> None:
        with self._idle:
            self._active -= 1
            self._idle.notify_all()

    def log(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def take(self, faults: list[object]) -> object | None:
        with self._lock:
            return faults.pop(0) if faults else None

    def is_lfs(self, name: str) -> bool:
        return name.endswith(self.lfs)

    def listing(self) -> dict[str, object]:
        siblings = []
        for name, data in sorted(self.files.items()):
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git}
            if self.is_lfs(name):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"size": len(data), "sha256": digest, "pointerSize": 134}
            siblings.append(entry)
        return {"id": self.repo, "modelId": self.repo, "sha": self.commit, "tags": [], "siblings": siblings}

    def _start(self, role: str) -> ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            server_role = role
            state = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_role = ""
    state: HubServer

    def log_message(self, *_: object) -> None:
        """Quiet: tests read `HubServer.requests`."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.state.begin()
        try:
            self._answer()
        finally:
            self.state.end()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        fault = self.state.take(self.state.faults.answers)
        if fault is not None:
            status, headers = fault
            self._reply(status, b"", headers)
        elif self.server_role == "storage":
            self._serve_storage(path.removeprefix("/lfs/"))
        elif not self._may_read():
            gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."}
            self._reply(403 if self.state.faults.gated else 401, b"", gated if self.state.faults.gated else {})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(\w+)", path):
            if self._exists(*found.groups()):
                self._reply(200, json.dumps(self.state.listing()).encode(), {"Content-Type": "application/json"})
        elif (found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", path)) and self._exists(*found.groups()[:2]):
            self._resolve(found[3])
        elif not found:
            self._reply(404, b"", {})

    def _may_read(self) -> bool:
        token = self.state.faults.required_token
        return token is None or self.headers.get("Authorization") == f"Bearer {token}"

    def _exists(self, repo: str, revision: str) -> bool:
        if repo != self.state.repo:
            self._reply(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif revision != self.state.commit:
            self._reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        return repo == self.state.repo and revision == self.state.commit

    def _resolve(self, name: str) -> None:
        data = self.state.files.get(name)
        if data is None:
            self._reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.state.commit})
        elif self.state.is_lfs(name):
            digest = hashlib.sha256(data).hexdigest()
            self._reply(
                302,
                b"",
                {
                    "X-Repo-Commit": self.state.commit,
                    "X-Linked-Etag": f'"{digest}"',
                    "X-Linked-Size": str(len(data)),
                    "Location": f"{self.state.storage_url}/lfs/{name}?X-Amz-Signature=secret",
                },
            )
        else:
            self._serve(
                name,
                self.state.faults.swapped.get(name, data),
                {"X-Repo-Commit": self.state.commit, "ETag": f'"{hashlib.sha256(data).hexdigest()[:40]}"'},
            )

    def _serve_storage(self, name: str) -> None:
        data = self.state.faults.swapped.get(name, self.state.files[name])
        self._serve(name, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'})

    def _serve(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or self.state.faults.ignore_ranges:
            return self._reply(200, data, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if first > last:
            return self._reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        part = data[first : last + 1]
        return self._reply(206, part, headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = 0
        if self.command != "HEAD" and body:
            cut = self.state.take(self.state.faults.cut_after) if self.server_role == "storage" else None
            sent = self._send(body if cut is None else body[: int(str(cut))])
            if cut is not None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
        request = Request(
            host=self.server_role,
            method=self.command,
            path=urlsplit(self.path).path,
            range=self.headers.get("Range"),
            authorization=self.headers.get("Authorization"),
            user_agent=self.headers.get("User-Agent"),
            sent_bytes=sent,
        )
        self.state.log(request)

    def _send(self, body: bytes) -> int:
        sent = 0
        for start in range(0, len(body), 1 << 16):
            try:
                self.wfile.write(body[start : start + (1 << 16)])
            except OSError:
                # The client has read what it wanted and hung up.
                self.close_connection = True
                break
            sent += len(body[start : start + (1 << 16)])
        return sent
