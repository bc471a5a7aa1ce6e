"""What the Python functions take: paths as texts too, and no text where a list is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec import api

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


def test_paths_may_be_texts(tmp_path: Path) -> None:
    assert api.check(str(QUICKSTART))[0].recipe == api.check(QUICKSTART)[0].recipe
    shop = api.Workshop(cache=tmp_path / "cache", config=tmp_path / "config", offline=True)
    plans = [
        api.plan(r, workshop=shop, output=o) for r, o in ((QUICKSTART, tmp_path), (str(QUICKSTART), str(tmp_path)))
    ]
    assert plans[0].artifacts == plans[1].artifacts


@pytest.mark.parametrize("verb", [api.check, api.plan, api.build])
def test_one_text_is_not_a_list_of_settings(verb) -> None:
    with pytest.raises(TypeError, match=r"write sets=\['context=128'\]"):
        verb(QUICKSTART, sets="context=128")
