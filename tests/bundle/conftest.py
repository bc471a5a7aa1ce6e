"""The bundle most tests look at, and a way to get a copy to spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_case import Bundle, derived_key, make_bundle

from edgec.bundle.keyfile import SigningKey


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return derived_key(20260101)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    """Shared: leave it as it is."""
    return make_bundle(tmp_path_factory.mktemp("bundle"), key)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a form of the bundle into this test's folder, writable."""

    def copy(path: Path) -> Path:
        target = tmp_path / f"copy-of-{path.name}"
        if path.is_file():
            shutil.copyfile(path, target)
            return target
        shutil.copytree(path, target)
        for file in target.rglob("*"):
            if file.is_file():
                file.chmod(0o644)
        return target

    return copy
