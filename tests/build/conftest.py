"""A workshop of its own for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from build_shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Folders of this test's own."""
    return Shop(tmp_path)


@pytest.fixture
def workshop(shop: Shop, toolchains_root: Path) -> Shop:
    """A workshop with the toolchains that are kept between tests."""
    (shop.folder / "cache").mkdir()
    (shop.folder / "cache" / "toolchains").symlink_to(toolchains_root)
    return shop
