"""The parts of the plugin that need no SDK, and the types of all of it, checked in the SDK's own environment."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import edgec.deploy.dify
from edgec.toolchain.environments import Environment

PLUGIN = Path(edgec.deploy.dify.__file__).parent / "plugin"
MYPY = """
[mypy]
strict = True
explicit_package_bases = True
untyped_calls_exclude = dify_plugin
disable_error_code = import-untyped
[mypy-dify_plugin.*]
follow_untyped_imports = True
follow_imports = silent
"""


@pytest.fixture
def import_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Importer]]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    yield Importer
    for name in [name for name in sys.modules if name.partition(".")[0] == "openai_server"]:
        monkeypatch.delitem(sys.modules, name)


class Importer:
    """Modules of the plugin by name."""

    @staticmethod
    def module(name: str) -> ModuleType:
        return importlib.import_module(f"openai_server.{name}")


EVENT = {"choices": [{"delta": {"content": "ä漢🚀"}}]}
DATA = json.dumps(EVENT, ensure_ascii=False).encode()


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "stream",
    [
        b"data: %s\n\ndata: [DONE]\n\n" % DATA,
        b"data:%s\r\n\r\n: ping\r\n\r\ndata: [DONE]\r\n\r\n" % DATA,
        b"data: %s\ndata: [DONE]\n" % DATA,
        b":\n\nevent: message\nid: 1\ndata: %s\n\n" % DATA,
        b"data: %s\n\ndata: cut off" % DATA,
        b"data: %s\ndata: %s\n\n" % tuple(DATA.split(b" ", 1)),
    ],
    ids=["usual", "crlf and pings", "single line ends", "other fields", "no end", "data over two lines"],
)
def test_streams(import_plugin: type[Importer], stream: bytes, piece: int) -> None:
    pieces = [stream[n : n + piece] for n in range(0, len(stream), piece)]
    assert list(import_plugin.module("events").payloads(pieces)) == [EVENT]


def test_a_stream_with_what_is_no_json(import_plugin: type[Importer]) -> None:
    stream = import_plugin.module("events").payloads([b"data: %s\n\n" % DATA, b"data: <html>\n\n"])
    assert next(stream) == EVENT
    with pytest.raises(ValueError, match="<html>"):
        next(stream)


def test_an_error_in_a_stream_of_an_older_server(import_plugin: type[Importer]) -> None:
    (payload,) = import_plugin.module("events").payloads([b'error: {"message": "full"}\n\n'])
    assert payload == {"error": {"message": "full"}}


@pytest.mark.parametrize(
    ("typed", "root"),
    [
        ("http://h:1/v1", "http://h:1"),
        (" http://h:1/v1/ ", "http://h:1"),
        ("h:1", "http://h:1"),
        ("https://h/models/v1", "https://h/models"),
        ("http://[fe80::1]:8080", "http://[fe80::1]:8080"),
    ],
)
def test_addresses(import_plugin: type[Importer], typed: str, root: str) -> None:
    assert import_plugin.module("address").read_address(typed).root == root


@pytest.mark.toolchain
def test_types(sdk: Environment, tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text(MYPY)
    arguments = [
        "--config-file",
        str(config),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--python-executable",
        str(sdk.python),
    ]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments, "."], cwd=PLUGIN, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert "no issues found in 14 source files" in checked.stdout
