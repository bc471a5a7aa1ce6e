"""Every message a wrong recipe can get, as it is shown. `EDGEC_UPDATE_GOLDENS=1 pytest tests/recipe` writes them anew.

A line `# set: path=value` in a recipe is given as `--set`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edgec.errors import InputError
from edgec.plan.check import load_checked

GOLDENS = Path(__file__).parent / "goldens"
NAMES = sorted(p.stem for p in GOLDENS.glob("*.yaml"))
SECRET = "hunter2-hunter2"


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDENS)
    recipe = Path(f"{name}.yaml")
    sets = re.findall(r"^# set: (.*)$", recipe.read_bytes().decode("utf-8", errors="replace"), re.MULTILINE)
    with pytest.raises(InputError) as caught:
        load_checked(recipe, sets=sets, env={"SECRET": SECRET, "DIR": "files"})
    said = str(caught.value) + "\n"
    expected = Path(f"{name}.expected")
    if os.environ.get("EDGEC_UPDATE_GOLDENS"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")
    assert SECRET not in said
    assert all(d.hint for d in caught.value.diagnostics), "every mistake says what to do"


def test_no_golden_is_left_over() -> None:
    assert sorted(p.stem for p in GOLDENS.glob("*.expected")) == NAMES
