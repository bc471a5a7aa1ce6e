"""`edgec verify --run web` of a sentence encoder: a real Chromium against native onnxruntime, and what it finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from test_web_verify import marked, shop_of
from triton_case import ROOT, built_and_unpacked

from edgec.events import silent
from edgec.toolchain.environments import Environment, find_toolchain, install
from edgec.trial.web import site_settings
from edgec.trial.web_browser import find_chromium
from edgec.trial.web_encoder import encoder_checks, encoder_task
from edgec.trial.web_page import Case, visited
from edgec.trial.web_server import web_site


@pytest.fixture(scope="module")
def site(minilm_checkpoint: Path, toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle of the recipe, its model from a folder and by one route, which is the quicker build."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "cache").mkdir()
    (folder / "cache" / "toolchains").symlink_to(toolchains_root)
    text = (ROOT / "recipes" / "wasm-minilm.yaml").read_text(encoding="utf-8")
    before, _, after = text.replace("../models", str(ROOT / "models")).partition("source:\n")
    middle = after[after.index("context:") : after.index("      scheme: auto")]
    rest = "      scheme: int8_fine\n" + after[after.index("prove:") :]
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"{before}source: {{path: {minilm_checkpoint}, licence: apache-2.0}}\n{middle}{rest}")
    return built_and_unpacked(recipe, folder)


@marked
def test_the_browser_embeds_as_native_onnxruntime_does(site: Path, toolchains_root: Path, tmp_path: Path) -> None:
    settings = site_settings(site)
    model = site / "site" / settings["files"][0]
    assert model.stat().st_size == settings["size_bytes"]
    # A browser's kernels are faster with additions before normalizations than with sums.
    assert {node.op_type for node in onnx.load(model).graph.node}.isdisjoint({"Sqrt", "Sum"})
    shop = shop_of(site, tmp_path, toolchains_root)
    code, last = shop.run("verify", str(site), "--run", "web")
    assert code == 0, last
    (trial,) = last["trials"]
    checks = {check["name"]: check for check in trial["checks"]}
    for how in ("", " without headers"):
        tokens = checks[f"texts of other tokens than the source's{how}"]
        assert (tokens["measured"], int(tokens["unit"].rpartition(" ")[2]) > 170) == (0, True)
        assert 0.995 < checks[f"smallest cosine with native vectors{how}"]["measured"] <= 1 + 1e-9
        assert checks[f"memory of the browser's processes{how}"]["measured"] > 100
    assert checks["cross-origin isolated with the headers"]["passed"]
    assert checks["without headers one thread, said aloud"]["passed"]
    assert checks["speed of one thread without headers"]["measured"] > 0
    for name in ("web.png", "web-single.png"):
        assert (tmp_path / "cache" / "logs" / name).stat().st_size > 20_000


@marked
def test_other_tokens_and_another_pooling_fail(site: Path, toolchains_root: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(site, spoilt)
    change(spoilt / "site" / "bert.js", "isIdeograph(point) ?", "false ?")
    change(spoilt / "site" / "engine.js", 'pooling === "cls" ? 1 : tokens', "1")

    def environment_of(name: str) -> Environment:
        toolchain = find_toolchain(name)
        return install(toolchain, toolchains_root, offline=False, report=silent, log=tmp_path / "install.log")

    case = Case(
        spoilt, site_settings(spoilt), environment_of("playwright"), find_chromium(), silent, tmp_path, environment_of
    )
    with web_site(spoilt, isolated=False) as served:
        found = visited(case, served, "web", encoder_task(case))
    failed = {check.name: check for check in encoder_checks("", found, case) if not check.passed}
    assert failed.keys() == {"texts of other tokens than the source's", "smallest cosine with native vectors"}
    assert "你好" in failed["texts of other tokens than the source's"].detail


@marked
def test_a_missing_tokenizer_is_said(site: Path, toolchains_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site, broken)
    environment = install(
        find_toolchain("playwright"), toolchains_root, offline=False, report=silent, log=tmp_path / "install.log"
    )
    case = Case(broken, site_settings(broken), environment, find_chromium(), silent, tmp_path, lambda _: environment)
    task = encoder_task(case)
    (broken / "tokenizer.json").unlink()
    with web_site(broken, isolated=False) as served:
        found = visited(case, served, "web", task)
    assert found.error == "The model cannot be loaded: the server answers 404 to ../tokenizer.json"
    assert found.embeddings == ()


def change(path: Path, old: str, new: str) -> None:
    """A file of a bundle, which may be a link, is replaced."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.unlink()
    path.write_text(text.replace(old, new), encoding="utf-8")
