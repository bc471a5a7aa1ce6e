"""What the documents say is tried: links lead somewhere, examples run, pipelines are valid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgec.cli import VERBS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_the_readme_names_every_verb():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [v for v in VERBS if f"edgec {v}" not in text and f"`{v}`" not in text] == []


def test_the_python_examples_run(tmp_path):
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    building, verifying = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    building = building.replace('"recipes/quickstart.yaml"', repr(str(ROOT / "recipes" / "quickstart.yaml")))
    env = {**os.environ, "EDGEC_CACHE": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def run(code):
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300)

    built = run(building)
    assert built.returncode == 0, built.stderr
    assert "artifacts/docs-llama-1.0.0-pi5-8gb sha256:" in built.stdout
    verified = run(verifying)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith("own sha256:")
    assert verified.stdout.split()[1] in built.stdout
    assert list((tmp_path / "model").rglob("*.gguf"))


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.github-workflows", "ci/github-actions.yml"), ("vendor.gitlab-ci", "ci/gitlab-ci.yml")],
)
def test_pipelines_fit_their_published_schemas(schema, file):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_pipelines_call_scripts_that_are_executable():
    for script in ("ci/aarch64", "ci/bundle", "ci/check", "ci/quickstart", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK), script
        subprocess.run(["bash", "-n", ROOT / script], check=True)
