"""The healthy models, compiled once per run."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof_models import compile_model


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docs-llama unquantized."""
    return compile_model(tmp_path_factory.mktemp("reference"), "source")


@pytest.fixture(scope="session")
def q4_k_m(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docs-llama as Q4_K_M."""
    return compile_model(tmp_path_factory.mktemp("q4_k_m"), "q4_k_m")
