"""Keys made once, and one model of each kind."""

from __future__ import annotations

import pytest
from dify_cases import KeyFile, made_key, served

from edgec.deploy.model import ServedModel


@pytest.fixture(scope="session")
def acme(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return made_key(tmp_path_factory.mktemp("keys"), "acme")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return made_key(tmp_path_factory.mktemp("keys"), "other")


@pytest.fixture
def generator() -> ServedModel:
    return served()


@pytest.fixture
def embedder() -> ServedModel:
    return served(kind="encoder", pooling="mean", chat_template=None, scheme="q8_0", context=512)


@pytest.fixture
def reranker() -> ServedModel:
    return served(kind="reranker", pooling="rank", chat_template=None, scheme="q8_0", context=512)
