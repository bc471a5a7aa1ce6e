"""What the web emitter writes for the quickstart's model. `EDGEC_UPDATE_GOLDENS=1` writes the goldens anew."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgec.deploy.model import ServedModel
from edgec.deploy.web.emit import can_have, emit, refuse
from edgec.deploy.web.headers import ISOLATION
from edgec.deploy.web.runtime import locked_runtimes
from edgec.recipe.package import WebPackage

GOLDENS = Path(__file__).parent / "goldens"
SHOWN = ("index.html", "model.json", "nginx.conf", "Caddyfile", "README.md")
VOID = {"meta", "link", "input", "br", "img"}


def site(model: ServedModel, settings: WebPackage | None = None) -> dict[str, str]:
    """The site's files as texts, by their paths below `site/`."""
    files = emit(settings or WebPackage(), model, weights_bytes=6_271_488).files
    return {path.removeprefix("site/"): data.decode() for path, data in files.items()}


class Page(HTMLParser):
    """Tags that are closed as they were opened, ids, and what the page asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        found = {name: value or "" for name, value in attrs}
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[name] for name in ("src", "href", "action") if name in found]
        self.handlers += [name for name in names if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", SHOWN)
def test_the_quickstarts_files(name: str, model: ServedModel) -> None:
    made = site(model)[name]
    golden = GOLDENS / name
    if os.environ.get("EDGEC_UPDATE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text(encoding="utf-8")


def test_equal_inputs_give_equal_bytes(model: ServedModel) -> None:
    first, second = (emit(WebPackage(), model, weights_bytes=7) for _ in range(2))
    assert dict(first.files) == dict(second.files)
    assert list(first.files) == sorted(first.files)
    assert first.digest == second.digest != emit(WebPackage(threads=1), model, weights_bytes=7).digest


def test_the_page_is_sound_and_the_script_finds_its_parts(model: ServedModel) -> None:
    files = site(model)
    page = Page(files["index.html"])
    assert page.open == []
    assert page.handlers == []
    assert len(page.ids) == len(set(page.ids))
    wanted = set(re.findall(r'at\("([a-z]+)"\)|say\("([a-z]+)"', files["app.js"] + files["page.js"]))
    assert {a or b for a, b in wanted} <= set(page.ids)
    assert Page(site(replace(model, chat_template=None))["index.html"]).ids == [i for i in page.ids if i != "chat"]


def test_nothing_comes_from_another_server(model: ServedModel) -> None:
    files = site(model)
    assert [link for link in Page(files["index.html"]).links if re.match(r"(\w+:)?//", link)] == []
    assert Page(files["index.html"]).links == ["data:,", "style.css", "app.js"]
    for name in [*(n for n in files if n.endswith(".js")), "index.html", "style.css", "model.json"]:
        assert re.findall(r"https?://|[\"'(]//", files[name]) == [], name
    # A rule of the browser's, so that the runtime cannot either.
    assert "default-src 'none'" in files["index.html"]
    assert "connect-src 'self' blob:;" in files["index.html"]
    # Its default would load another build from a CDN.
    assert "setCompat(null)" in files["engine.js"]


def test_the_page_leads_to_the_weights_of_the_bundle(model: ServedModel, tmp_path: Path) -> None:
    settings = json.loads(site(model)["model.json"])
    found = [(tmp_path / "site" / path).resolve() for path in settings["files"]]
    assert found == [(tmp_path / path).resolve() for path in model.files]
    # Other weights have another address, so that a browser's kept copy is not taken for them.
    other = json.loads(site(replace(model, weights="sha256:" + "6" * 64))["model.json"])
    assert settings["weights"] != other["weights"]


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", "a\"b'c&d", "naïve 漢字"])
def test_any_title_is_text(title: str, model: ServedModel) -> None:
    page = site(replace(model, title=title), WebPackage(title=title))["index.html"]
    assert Page(page).open == []
    assert page.count("<script") == 1
    assert ("<title>" + title in page) == (title == "naïve 漢字")


def test_both_servers_send_the_headers(model: ServedModel) -> None:
    files = site(model, WebPackage(port=9001))
    for name in ("nginx.conf", "Caddyfile", "README.md"):
        assert "127.0.0.1:9001" in files[name], name
        for header, value in ISOLATION:
            assert re.search(rf"{header}:? \"?{value}", files[name]), (name, header)


def test_a_small_context_takes_fewer_tokens(model: ServedModel) -> None:
    assert json.loads(site(replace(model, context=64))["model.json"])["max_tokens"] == 32
    assert json.loads(site(model)["model.json"])["max_tokens"] == 128


@pytest.mark.parametrize(
    ("changed", "settings", "said"),
    [
        ({"kind": "encoder"}, WebPackage(), "of another kind (encoder)"),
        ({"format": "trtllm"}, WebPackage(), "reads `trtllm`"),
        ({}, WebPackage(max_tokens=256), "leave no room for a prompt"),
    ],
)
def test_what_cannot_be_is_refused(
    changed: dict[str, str], settings: WebPackage, said: str, model: ServedModel
) -> None:
    (mistake,) = refuse(settings, replace(model, **changed))  # type: ignore[arg-type]
    assert said in mistake.message
    assert mistake.hint
    assert list(refuse(WebPackage(), model)) == []


def test_only_browsers_have_a_site(model: ServedModel) -> None:
    board = replace(model, device=replace(model.device, arch="aarch64", title="A board"))
    assert can_have(model)
    assert not can_have(board)
    assert not can_have(replace(model, kind="encoder"))
    (mistake,) = refuse(WebPackage(), board)
    assert mistake.message == "A board is no browser"


def test_the_runtime_is_locked() -> None:
    (runtime,) = locked_runtimes("gguf")
    assert re.fullmatch(r"@wllama/wllama@\d+\.\d+\.\d+", runtime.spec)
    assert len(base64.b64decode(runtime.integrity.removeprefix("sha512-"))) == 64
    assert {"index.min.js", "wllama.wasm", "LICENCE"} == {f.file for f in runtime.files}
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", f.digest) and f.size_bytes for f in runtime.files)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_scripts_are_javascript(model: ServedModel, tmp_path: Path) -> None:
    for name in (n for n in site(model) if n.endswith(".js")):
        path = (tmp_path / name).with_suffix(".mjs")
        path.write_text(site(model)[name], encoding="utf-8")
        subprocess.run(["node", "--check", path], check=True)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_its_configuration(model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "nginx.conf").write_text(site(model)["nginx.conf"], encoding="utf-8")
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", "site/nginx.conf"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr
    assert "warn" not in tried.stderr
    # A bundle that is served must still verify.
    assert [p.name for p in tmp_path.iterdir()] == ["site"]
