"""Every folder of tests is among those that `pytest` runs: it passes by folders of some names without a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_folder_of_tests_is_passed_by() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    collected = {line.rpartition("/")[0] for line in listed.splitlines() if line.startswith("tests/")}
    there = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert there - collected == set()
