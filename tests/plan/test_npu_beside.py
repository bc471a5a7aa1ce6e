"""A plan for a board with an NPU sets it beside the CPU, and another board's plan does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.documents.canonical import sha256_file
from edgec.plan.check import load_checked
from edgec.plan.gguf import plan_gguf
from edgec.plan.origin import open_source
from edgec.recipe.model import GgufArtifact

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: {target}
source: {{path: {model}}}
context: 256
artifacts:
  - format: gguf
    quantize: {{scheme: q4_0}}
"""


def notes(folder: Path, target: str) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(target=target, model=MODEL))
    loaded, found = load_checked(path, env={})
    artifact = loaded.recipe.artifacts[0]
    assert isinstance(artifact, GgufArtifact)
    header = open_source(loaded, offline=True, digest_file=sha256_file).header
    return [n for n in plan_gguf(loaded, found, header, artifact, 0).summary.notes if "NPU" in n]


@pytest.mark.parametrize(("target", "expected"), [("rk3588-8gb", 1), ("rk3588-16gb", 1), ("pi5-8gb", 0)])
def test_the_npu_stands_beside_the_cpu(tmp_path: Path, target: str, expected: int) -> None:
    found = notes(tmp_path, target)
    assert len(found) == expected
    for note in found:
        assert "RKLLM (NPU) with w8a8 is predicted at" in note
        assert "extrapolated" in note
        assert "`format: rkllm`, with Rockchip's own wheel" in note
