"""A step gets the checkpoint that was planned, or none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgec import api
from edgec.build.context import StepContext
from edgec.errors import InputError
from edgec.events import silent
from edgec.store.actions import Result

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {path: model, licence: apache-2.0}
artifacts: [{format: gguf, quantize: {scheme: q4_0}}]
"""


def not_asked(name: str) -> Result:
    raise AssertionError(f"nobody needs {name}")


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    """The context of a plan that was made a moment ago."""
    shutil.copytree(MODEL, tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    shop = api.Workshop(cache=tmp_path / "cache", config=tmp_path / "config", env={}, offline=True)
    return StepContext(api.plan(tmp_path / "recipe.yaml", workshop=shop), silent, shop.digests, not_asked)


def test_the_planned_checkpoint_is_opened_once(context: StepContext) -> None:
    checkpoint = context.checkpoint()
    assert checkpoint.header.identity == context.plan.source.header.identity
    assert context.checkpoint() is checkpoint


def test_a_checkpoint_that_changed_after_planning_is_refused(context: StepContext, tmp_path: Path) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match="changed after the build was planned"):
        context.checkpoint()
