"""ci/heavy.json: every file that it names is there, and a test of a heavy toolchain runs when it has itself changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GROUPS: dict[str, list[str]] = json.loads((ROOT / "ci" / "heavy.json").read_text(encoding="utf-8"))
MARKS = re.compile(r"\bheavy\(([^)]*)\)")


def test_every_pattern_finds_a_file() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "ci" / "heavy", "unchanged"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) <= GROUPS.keys() - {"all"}


def test_a_heavy_test_rests_on_its_own_file() -> None:
    found = {name: {path for pattern in patterns for path in ROOT.glob(pattern)} for name, patterns in GROUPS.items()}
    marked = 0
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for mark in MARKS.findall(path.read_text(encoding="utf-8")):
            names = re.findall(r'"([\w-]+)"', mark)
            marked += bool(names)
            assert set(names) <= GROUPS.keys() - {"all"}, path
            # It is left out when nothing has changed for any of its names.
            assert not names or any(path in found[name] for name in names), path
    assert marked > 40
