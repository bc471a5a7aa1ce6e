"""A Triton that is installed for real, and the quickstart's model as the emitter sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.deploy.model import Device, ServedModel
from edgec.events import silent
from edgec.toolchain.environments import Environment, find_toolchain, install


@pytest.fixture(scope="session")
def triton_environment(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The `triton` toolchain."""
    log = tmp_path_factory.mktemp("triton") / "install.log"
    return install(find_toolchain("triton"), toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture
def docs_llama() -> ServedModel:
    """The quickstart's model."""
    return ServedModel(
        name="docs-llama",
        version="1.0.0",
        title="Docs Llama",
        description=None,
        licence="apache-2.0",
        kind="decoder",
        format="gguf",
        scheme="q4_k_m",
        weights="sha256:" + "5" * 64,
        files=("gguf/docs-llama-q4_k_m.gguf",),
        architecture="llama",
        parameters=1_000_000,
        context=256,
        batch=1,
        embedding_length=64,
        pooling=None,
        chat_template=None,
        special_texts={},
        device=Device("pi5-8gb", "Raspberry Pi 5, 8 GB", "aarch64", threads=4, available_mib=7424, needed_mib=80),
    )
