"""Regions of shared memory: those of the dead go at the next start, those of the living stay."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgec.trial.shared_memory import region_prefix, remove_left_behind

SHARED = Path("/dev/shm")  # noqa: S108 - where Triton puts its regions
OWNER = """
import pathlib, sys, time
from edgec.trial.shared_memory import region_prefix
with region_prefix() as prefix:
    pathlib.Path("/dev/shm", prefix + "region").touch()
    print(prefix, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another edgec with a region."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        region = SHARED / f"{child.stdout.readline().strip()}region"
        try:
            yield child, region
        finally:
            child.kill()
            region.unlink(missing_ok=True)


def test_two_at_once_keep_theirs(owner: tuple[subprocess.Popen[str], Path]) -> None:
    with region_prefix() as prefix:
        own = SHARED / f"{prefix}region"
        own.touch()
        with region_prefix() as other:
            assert other != prefix
        assert own.exists()
        assert owner[1].exists()
    assert not own.exists()
    assert owner[1].exists()


def test_what_the_killed_left_goes_at_the_next_start(owner: tuple[subprocess.Popen[str], Path]) -> None:
    child, region = owner
    child.kill()
    child.wait()
    assert region.exists()
    with region_prefix():
        assert not region.exists()


@pytest.mark.parametrize("change", ["another space", "a process given again", "a foreign name"])
def test_only_what_is_surely_the_deads_goes(change: str) -> None:
    with region_prefix() as prefix:
        name, space, process, began, token, _ = prefix.split("_")
        changed = {
            "another space": f"{name}_1_{process}_1_{token}_{uuid.uuid4()}",
            "a process given again": f"{name}_{space}_{os.getpid()}_1_{token}_{uuid.uuid4()}",
            "a foreign name": f"{name}_{uuid.uuid4().hex}_{began}",
        }[change]
        region = SHARED / changed
        region.touch()
        try:
            remove_left_behind()
            # A number that another process has now says that the owner is dead.
            assert region.exists() == (change != "a process given again")
        finally:
            region.unlink(missing_ok=True)
