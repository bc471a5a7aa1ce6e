"""`edgec verify --run web`: a real Chromium on a real site, compared with native llama.cpp; what fails is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from triton_case import ROOT, Shop, built_and_unpacked

from edgec.errors import InputError, ToolError
from edgec.events import silent
from edgec.toolchain.environments import find_toolchain, install
from edgec.trial.http_client import HttpClient
from edgec.trial.web import site_settings, try_web
from edgec.trial.web_browser import CHROMIUM, Task, Visit, find_chromium, visit
from edgec.trial.web_server import web_site

FOUND = any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
real = [
    pytest.mark.browser,
    pytest.mark.toolchain,
    pytest.mark.skipif(not FOUND, reason="Chromium is not installed"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]


def marked(test: Any) -> Any:
    """For tests with a real browser and what it runs from npm."""
    for mark in real:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle of the browser's recipe, in four shards."""
    sets = ("artifacts[0].shard_size_mib=2", "prove.windows=4")
    return built_and_unpacked(ROOT / "recipes" / "docs-llama-browser.yaml", tmp_path_factory.mktemp("site"), *sets)


def shop_of(unpacked: Path, folder: Path, toolchains: Path) -> Shop:
    """The command line of who trusts the bundle's key."""
    shutil.copytree(unpacked.with_name("config"), folder / "config" / "edgec")
    return Shop(folder, toolchains)


def visited(bundle: Path, page: str, toolchains: Path, logs: Path) -> Visit:
    """One visit of a page, without traces."""
    environment = install(
        find_toolchain("playwright"), toolchains, offline=False, report=silent, log=logs / "install.log"
    )
    return visit(
        environment, find_chromium(), page, Task(prompts=("Docker is",), max_tokens=2, top=2), model_mib=80,
        log=logs / "visit.log", screenshot=logs / "visit.png", report=silent,
    )  # fmt: skip


@marked
def test_the_browser_writes_what_native_llama_cpp_writes(site: Path, toolchains_root: Path, tmp_path: Path) -> None:
    shop = shop_of(site, tmp_path, toolchains_root)
    code, last = shop.run("verify", str(site), "--run", "web")
    assert code == 0, last
    (trial,) = last["trials"]
    checks = {check["name"]: check for check in trial["checks"]}
    for how in ("", " without headers"):
        assert checks[f"greedy tokens other than natively{how}"]["measured"] == 0
        assert " of " in checks[f"greedy tokens other than natively{how}"]["unit"]
        assert 0 < checks[f"log-probabilities against native ones{how}"]["measured"] < 0.03
        assert checks[f"memory of the browser's processes{how}"]["measured"] > 100
    assert checks["speed of one thread without headers"]["measured"] > 0
    assert checks["without headers one thread, said aloud"]["passed"]
    for name in ("web.png", "web-single.png"):
        assert (tmp_path / "cache" / "logs" / name).stat().st_size > 20_000


@marked
def test_what_the_page_cannot_load_it_says(site: Path, toolchains_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site, broken)
    (*_, last) = sorted((broken / "gguf").iterdir())
    last.unlink()
    with web_site(broken, isolated=False) as served:
        found = visited(broken, served.page, toolchains_root, tmp_path)
    assert found.error is not None
    assert found.error.startswith("The model cannot be loaded: ")
    assert found.traces == ()
    assert [path.partition("?")[0] for path in served.missing] == [f"/gguf/{last.name}"] * len(served.missing)
    assert served.missing
    # The page itself may be missing as well.
    (broken / "site" / "model.json").unlink()
    with web_site(broken, isolated=False) as served:
        found = visited(broken, served.page, toolchains_root, tmp_path)
    assert found.error == "The page cannot start: the server answers 404 to model.json"


@marked
def test_tokens_that_are_not_the_likeliest_fail(site: Path, toolchains_root: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(site, spoilt)
    engine = spoilt / "site" / "engine.js"
    greedy = "temperature: 0, top_k: 1, logprobs"
    text = engine.read_text(encoding="utf-8")
    assert greedy in text
    engine.unlink()
    engine.write_text(text.replace(greedy, "temperature: 9, min_p: 0, seed: 1, logprobs"), encoding="utf-8")
    # One thread is enough here, and quicker where others need the cores.
    settings = spoilt / "site" / "model.json"
    told = {**json.loads(settings.read_bytes()), "threads": 1}
    settings.unlink()
    settings.write_text(json.dumps(told), encoding="utf-8")
    environment = install(
        find_toolchain("playwright"), toolchains_root, offline=False, report=silent, log=tmp_path / "install.log"
    )
    _, checks = try_web(
        spoilt, chromium=find_chromium(), environment=environment, environment_of=lambda _: environment, logs=tmp_path
    )
    failed = [check for check in checks if not check.passed]
    assert failed[0].name == "greedy tokens other than natively"
    assert "likelier by" in failed[0].detail
    assert {check.name.partition(" without")[0] for check in failed} <= {
        "greedy tokens other than natively", "log-probabilities against native ones",
    }  # fmt: skip


def test_a_bundle_without_a_site_and_a_machine_without_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="holds no web site"):
        site_settings(tmp_path)
    monkeypatch.setenv(CHROMIUM, str(tmp_path / "nothing"))
    with pytest.raises(ToolError, match="names no program"):
        find_chromium()
    monkeypatch.delenv(CHROMIUM)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="no Chromium is on PATH"):
        find_chromium()


def test_the_trials_server_serves_what_the_sites_servers_do(tmp_path: Path) -> None:
    for path in ("site/index.html", "site/app.js", "site/wllama/wllama.wasm", "gguf/a.gguf", "config.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path, encoding="utf-8")
    with web_site(tmp_path, isolated=True) as served:
        client = HttpClient(served.port)
        assert client.get("/site/").body == b"site/index.html"
        assert client.get("/gguf/a.gguf?v=1").body == b"gguf/a.gguf"
        for path in ("/config.json", "/", "/site/../config.json", "/gguf/b.gguf", "/tokenizer.json/x"):
            assert client.get(path).status == 404, path
        assert len(served.missing) == 5
