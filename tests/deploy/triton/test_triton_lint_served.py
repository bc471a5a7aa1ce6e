"""The lint against a real tritonserver: what one refuses, the other refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from lint_cases import CASES, GOOD, MODEL_PY

from edgec.toolchain.environments import Environment
from edgec.trial.triton_server import TritonServer, triton_server

pytestmark = pytest.mark.toolchain
STANDING = {"standing/config.pbtxt": GOOD.replace('"m"', '"standing"').encode(), "standing/1/model.py": MODEL_PY}


def _put(repository: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_bytes(data)


@pytest.fixture(scope="module")
def served(
    triton_environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TritonServer, Path]]:
    """A server that loads models only when it is told to, and its repository."""
    repository = tmp_path_factory.mktemp("repository")
    _put(repository, STANDING)
    log = tmp_path_factory.mktemp("log") / "triton.log"
    # As start.sh starts it: what the server guesses is not what a configuration says.
    options = ["--disable-auto-complete-config"]
    with triton_server(triton_environment, repository, models=["standing"], log=log, options=options) as server:
        yield server, repository


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused is not None])
def test_the_server_refuses_it_too(name: str, served: tuple[TritonServer, Path]) -> None:
    server, repository = served
    case = CASES[name]
    for old in repository.iterdir():
        if old.name != "standing":
            shutil.rmtree(old)
    _put(repository, case.files)
    path = f"/v2/repository/models/{case.load}"
    loaded = server.http.post(f"{path}/load", {})
    assert loaded.is_ok is not case.refused, loaded.body
    server.http.post(f"{path}/unload", {"parameters": {"unload_dependents": True}})


def test_a_good_one_loads(served: tuple[TritonServer, Path]) -> None:
    server, repository = served
    _put(repository, {"m/config.pbtxt": GOOD.encode(), "m/1/model.py": MODEL_PY})
    reply = server.http.post("/v2/repository/models/m/load", {})
    assert reply.is_ok, reply.body
