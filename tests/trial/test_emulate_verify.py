"""`prove.emulate` and `edgec verify --emulate`, as a person runs them; what fails is said, with its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from emulated_case import bench_of, emulated
from triton_case import ROOT, Shop

from edgec.bundle.content import MANIFEST_PATH
from edgec.errors import InputError
from edgec.trial.emulated import try_emulated

RECIPE = f"""\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {{path: {ROOT}/models/docs-llama, licence: apache-2.0}}
context: 256
artifacts:
  - format: gguf
    quantize: {{scheme: q4_0}}
prove: {{held_out: {ROOT}/models/docs-llama/held_out.txt, windows: 2, emulate: true}}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, toolchains_root: Path) -> tuple[Shop, dict[str, Any]]:
    """The shop in which the recipe was built, and what the build said last."""
    shop = Shop(tmp_path_factory.mktemp("emulated"), toolchains_root)
    (shop.folder / "recipe.yaml").write_text(RECIPE)
    code, last = shop.run("build", "recipe.yaml")
    assert code == 0, last
    return shop, last


@emulated
def test_a_build_proves_by_emulation(built: tuple[Shop, dict[str, Any]]) -> None:
    shop, last = built
    page = (shop.folder / last["bundle"]).with_name("small-1.0.0-pi5-8gb.report.html").read_text()
    assert "emulated cortex-a76: KL divergence" in page
    assert "emulated Cortex-A76 (qemu " in page
    assert ", not verified on hardware" in page
    assert "kernels with dot-product instructions" in page


@emulated
def test_verify_finds_what_the_build_found(built: tuple[Shop, dict[str, Any]]) -> None:
    shop, _ = built
    bundle = str(shop.folder / "artifacts" / "small-1.0.0-pi5-8gb")
    code, last = shop.run("verify", bundle, "--emulate", "--offline")
    assert code == 0, last
    (trial,) = last["trials"]
    assert trial["software"].startswith("emulated Cortex-A76 (qemu ")
    assert trial["versions"].endswith("; not verified on hardware; found by an earlier run")
    assert all(check["passed"] for check in trial["checks"])
    assert "no dot-product instructions" in trial["warnings"][0]
    # What was found is kept; were it bad, the exit code would say so.
    (kept,) = (shop.folder / "cache" / "emulation").iterdir()
    good = kept.read_bytes()
    kept.write_text(json.dumps({**json.loads(good), "mean_kl": 0.5}))
    code, last = shop.run("verify", bundle, "--emulate", "--offline")
    kept.write_bytes(good)
    assert code == 4
    assert "KL divergence" in json.dumps(last)


@emulated
def test_without_qemu_the_build_says_what_to_install(
    built: tuple[Shop, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, _ = built
    monkeypatch.setenv("PATH", str(shop.folder))
    bundle = str(shop.folder / "artifacts" / "small-1.0.0-pi5-8gb")
    for command in (
        ("verify", bundle, "--emulate"),
        ("build", "recipe.yaml", "--set", "artifacts[0].quantize.scheme=q8_0"),
    ):
        code, last = shop.run(*command)
        assert code == 3
        assert "qemu-user-static" in json.dumps(last)
    # Told before anything was quantized.
    assert not list((shop.folder / "cache").rglob("*q8_0*"))


@emulated
def test_other_processors_are_refused(
    built: tuple[Shop, dict[str, Any]], toolchains_root: Path, tmp_path: Path
) -> None:
    shop, _ = built
    code, last = shop.run("unpack", str(shop.folder / "artifacts" / "small-1.0.0-pi5-8gb"), str(tmp_path / "model"))
    assert code == 0, last
    path = tmp_path / "model" / MANIFEST_PATH
    manifest = json.loads(path.read_bytes())
    for change, said in (
        ({"arch": "x86_64"}, "for pi5-8gb, which is x86_64"),
        ({"qemu_cpu": None}, "does not say which processor of qemu"),
    ):
        changed = {**manifest, "target": {**manifest["target"], "isa": {**manifest["target"]["isa"], **change}}}
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=said):
            try_emulated(tmp_path / "model", bench_of(tmp_path, toolchains_root))
    artifacts = [{**manifest["artifacts"][0], "format": "edgellm"}]
    path.write_text(json.dumps({**manifest, "artifacts": artifacts}))
    with pytest.raises(InputError, match="nothing that can be emulated, but edgellm"):
        try_emulated(tmp_path / "model", bench_of(tmp_path, toolchains_root))
