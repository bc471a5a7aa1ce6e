"""A device and the bundle that most tests finish on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from device_case import Device, make_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: leave it as it is."""
    return make_bundle(tmp_path_factory.mktemp("orin-bundle"))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device", [])
