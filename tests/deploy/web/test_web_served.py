"""The site's nginx.conf and Caddyfile in the real servers: headers, media types, and nothing else of the bundle."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from email.message import Message
from pathlib import Path

import pytest

from edgec.deploy.model import ServedModel
from edgec.deploy.web.emit import emit
from edgec.deploy.web.headers import ISOLATION
from edgec.recipe.package import WebPackage

COMMANDS = {
    "nginx": ["nginx", "-p", ".", "-c", "site/nginx.conf"],
    "caddy": ["caddy", "run", "--config", "site/Caddyfile", "--adapter", "caddyfile"],
}
TYPES = {
    "/site/": "text/html; charset=utf-8",
    "/site/app.js": "text/javascript; charset=utf-8",
    "/site/model.json": "application/json",
    "/site/runtime/runtime.wasm": "application/wasm",
}
# Of the bundle beside the site.
CARRIED = {
    "gguf": {"/gguf/model.gguf?v=5": None},
    "onnx": {"/onnx/model.onnx?v=5": None, "/tokenizer.json": "application/json"},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def asked(port: int, path: str) -> tuple[int, Message]:
    """Status and headers of the answer to GET; waits for a server that is about to listen."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            with contextlib.closing(connection):
                connection.request("GET", path)
                with connection.getresponse() as answer:
                    return answer.status, answer.headers
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.1)


@pytest.mark.parametrize("server", list(COMMANDS))
@pytest.mark.parametrize("served", list(CARRIED))
def test_a_server_sends_what_threads_need(
    server: str, served: str, model: ServedModel, encoder: ServedModel, tmp_path: Path
) -> None:
    program = shutil.which(server)
    if program is None:
        pytest.skip(f"{server} is not installed")
    port = free_port()
    files = dict(emit(WebPackage(port=port), encoder if served == "onnx" else model, weights_bytes=4).files)
    files |= {f"{served}/model.{served}": b"weights", "site/runtime/runtime.wasm": b"\0asm", "config.json": b"{}"}
    files |= {"tokenizer.json": b"{}"}
    bundle = tmp_path / "bundle"
    for path, data in files.items():
        (bundle / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / path).write_bytes(data)
    # Started by root, nginx would read as `nobody`, who cannot look into a test's folder.
    options = ["-g", "user root;"] if server == "nginx" and os.getuid() == 0 else []
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [program, *COMMANDS[server][1:], *options], cwd=bundle, env=home, stdout=log, stderr=log
        )
    try:
        for path, media_type in {**TYPES, **CARRIED[served]}.items():
            status, headers = asked(port, path)
            assert status == 200, (path, (tmp_path / "log").read_text())
            for header, value in ISOLATION:
                assert headers.get_all(header) == [value], path
            if media_type is not None:
                assert headers["Content-Type"] == media_type
        assert asked(port, "/config.json")[0] == 404
        assert asked(port, "/")[1]["Location"].endswith("site/")
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)
    # A bundle that was served must still verify.
    assert {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()} == set(files)
