"""Rules for all tests: a tool named in EDGEC_REQUIRE must be there, so that CI cannot pass by skipping."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

REQUIRED = frozenset(os.environ.get("EDGEC_REQUIRE", "").split())


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
    return Path(kept) if kept else tmp_path_factory.mktemp("toolchains")
