"""Where things lie, as the environment and the XDG specification say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgec.store.paths import cache_home, config_home


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"EDGEC_CACHE": "/big/disk", "XDG_CACHE_HOME": "/x"}, "/big/disk"),
        ({"EDGEC_CACHE": "here"}, "here"),
        ({"EDGEC_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/edgec"),
        ({"XDG_CACHE_HOME": "relative"}, "~/.cache/edgec"),
        ({"XDG_CACHE_HOME": ""}, "~/.cache/edgec"),
        ({}, "~/.cache/edgec"),
    ],
)
def test_the_cache(env: Mapping[str, str], expected: str) -> None:
    assert cache_home(env) == Path(expected).expanduser()


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/c", "EDGEC_CACHE": "/big"}, "/c/edgec"),
        ({"XDG_CONFIG_HOME": "relative"}, "~/.config/edgec"),
        ({}, "~/.config/edgec"),
    ],
)
def test_the_configuration(env: Mapping[str, str], expected: str) -> None:
    assert config_home(env) == Path(expected).expanduser()


def test_without_an_argument_the_process_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEC_CACHE", "/from/the/environment")
    assert cache_home() == Path("/from/the/environment")
