"""`edgec verify --run dify`: a built bundle's plugin is started, and its own model answers it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.toolchain

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = f"""\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {{path: {MODEL}, licence: apache-2.0}}
context: 256
artifacts:
  - format: gguf
    quantize: {{scheme: q8_0}}
prove: {{held_out: {MODEL}/held_out.txt, windows: 4}}
package: {{triton: null}}
"""


class Shop:
    """A cache and keys of its own, but for the toolchains."""

    def __init__(self, folder: Path, toolchains: Path) -> None:
        self.folder = folder
        (folder / "recipe.yaml").write_text(RECIPE)
        (folder / "cache").mkdir()
        (folder / "cache" / "toolchains").symlink_to(toolchains)
        self.run("dify", "keygen", "acme.private.pem", "--bits", "2048")

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code of `edgec ARGUMENTS` and its last line."""
        env = {**os.environ, "EDGEC_CACHE": str(self.folder / "cache"), "XDG_CONFIG_HOME": str(self.folder / "config")}
        command = [sys.executable, "-m", "edgec", *arguments, "--json"]
        ended = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, check=False)
        return ended.returncode, json.loads(ended.stdout.splitlines()[-1])

    def build(self, *settings: str) -> str:
        """The folder of a new bundle."""
        code, last = self.run("build", "recipe.yaml", *settings)
        assert code == 0, last
        return "artifacts/small-1.0.0-pi5-8gb"


@pytest.fixture(scope="module")
def shop(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"), toolchains_root)


def test_a_bundle_with_a_plugin(shop: Shop) -> None:
    bundle = shop.build("--set", "package.dify.author=acme", "--set", "package.dify.key=acme.private.pem")
    code, last = shop.run("verify", bundle, "--run", "dify")
    assert code == 0, last
    (trial,) = last["trials"]
    assert [check["name"] for check in trial["checks"] if check["passed"]] == [
        "Dify package signature", "Dify plugin starts", "Dify models declared", "Dify credentials accepted",
        "Dify models answer",
    ]  # fmt: skip


def test_a_bundle_without_one(shop: Shop) -> None:
    bundle = shop.build()
    code, last = shop.run("verify", bundle, "--run", "dify")
    assert code == 2
    assert "the bundle holds no Dify package" in json.dumps(last)
