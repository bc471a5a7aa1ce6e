"""The web site in a bundle for browsers: the runtime is fetched from npm once, by digest, before anything is built."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from build_shop import RECIPE

from edgec.deploy.web.runtime import locked_runtimes
from edgec.documents.canonical import sha256_bytes

(WLLAMA,) = locked_runtimes("gguf")
BROWSER = RECIPE.replace("pi5-8gb", "wasm-browser")
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


def ran(finished) -> list[str]:
    """Kinds of the actions that were started."""
    return [e["kind"] for e in finished.events if e["event"] == "action_started"]


def refused(shop, extra: dict[str, str], *options: str) -> dict[str, str]:
    """The one mistake of a build that must stop at the runtime."""
    failed = type(shop)(shop.folder, extra).run("build", shop.recipe(BROWSER), *options)
    assert failed.code == 3
    assert ran(failed) == ["runtime"]
    assert not (shop.folder / "artifacts").exists()
    (said,) = failed.last["diagnostics"]
    return said


def test_the_plan_tells_of_the_site_and_its_download(shop):
    planned = shop.run("plan", shop.recipe(BROWSER))
    assert planned.code == 0
    (fetch,) = [a for a in planned.last["actions"] if a["kind"] == "runtime"]
    assert fetch["cost"]["download_bytes"] == WLLAMA.size_bytes
    without = shop.run("plan", shop.recipe(BROWSER + "package: {web: null}\n"))
    assert [a for a in without.last["actions"] if a["kind"] == "runtime"] == []
    assert [a for a in shop.run("plan", shop.recipe()).last["actions"] if a["kind"] == "runtime"] == []


def test_a_site_for_a_board_is_refused_at_its_line(shop):
    failed = shop.run("plan", shop.recipe(RECIPE + "package:\n  web: {}\n"))
    assert failed.code == 2
    (said,) = failed.last["diagnostics"]
    assert said["message"] == "Raspberry Pi 5, 8 GB is no browser"
    assert said["line"] == RECIPE.count("\n") + 2


def test_without_npm_the_error_says_what_to_do(shop):
    said = refused(shop, {"PATH": str(Path(sys.executable).parent)})
    assert "no npm on PATH" in said["message"]
    assert "EDGEC_NPM_PACKAGES" in said["hint"]


@needs_npm
def test_offline_with_an_empty_cache_is_an_error_with_a_log(shop):
    said = refused(shop, {"npm_config_cache": str(shop.folder / "npm")}, "--offline")
    assert "cannot be fetched" in said["message"]
    assert "build once without --offline" in said["hint"]
    assert str(shop.folder / "cache" / "logs" / "runtime.log") in said["hint"]


def test_another_tarball_is_refused(shop):
    kept = shop.folder / "kept"
    kept.mkdir()
    (kept / WLLAMA.tarball).write_bytes(b"\0" * WLLAMA.size_bytes)
    said = refused(shop, {"EDGEC_NPM_PACKAGES": str(kept)})
    assert "this is not the @wllama/wllama@" in said["message"]
    assert said["place"] == str(kept / WLLAMA.tarball)


@pytest.mark.toolchain
@needs_npm
def test_a_bundle_holds_a_site_with_the_locked_runtime(shop):
    """For real: 6 MB from npm."""
    built = shop.run("build", shop.recipe(BROWSER))
    assert built.code == 0, built.err
    folder = shop.folder / "unpacked"
    assert shop.run("unpack", built.last["bundle"], folder).code == 0
    for file in WLLAMA.files:
        assert sha256_bytes((folder / "site" / "wllama" / file.file).read_bytes()) == file.digest
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    assert manifest["deployment"]["web"]["runtime"][0]["integrity"] == WLLAMA.integrity
    assert "triton" not in manifest["deployment"]
    settings = json.loads((folder / "site" / "model.json").read_bytes())
    weights = [folder / "site" / path for path in settings["files"]]
    assert sum(path.stat().st_size for path in weights) == settings["size_bytes"]
    assert WLLAMA.digest.removeprefix("sha256:") in (folder / "provenance.json").read_text()
    # It is kept: the next build needs neither npm nor a network.
    alone = type(shop)(shop.folder, {"PATH": str(Path(sys.executable).parent)})
    later = alone.run("build", shop.recipe(BROWSER), "--set", "version=1.0.1", "--offline")
    assert ran(later) == ["bundle"], later.err
