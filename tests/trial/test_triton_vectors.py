"""all-MiniLM-L6-v2 on a real tritonserver: the vectors that llama.cpp's own server gives, from batched requests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from triton_case import built_and_unpacked

from edgec.errors import ToolError
from edgec.toolchain.environments import Environment
from edgec.trial.http_client import HttpClient
from edgec.trial.llama_server import serving
from edgec.trial.triton import try_triton
from edgec.trial.triton_client import TritonModel
from edgec.trial.triton_server import triton_server
from edgec.trial.triton_vectors import embed, text_tensor

pytestmark = pytest.mark.toolchain
TEXTS = ["The sea was calm.", "How do I list files?", "naïve 漢字", "A longer text about boats and the sea, at night."]
RECIPE = """\
schema: edgec/recipe/v1
name: minilm
version: 1.0.0
target: pi5-8gb
source: {{path: {checkpoint}, licence: apache-2.0}}
context: 256
batch: 4
artifacts: [{{format: gguf, quantize: {{scheme: q8_0}}}}]
"""


@pytest.fixture(scope="module")
def unpacked(minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm-bundle")
    (folder / "recipe.yaml").write_text(RECIPE.format(checkpoint=minilm_checkpoint), encoding="utf-8")
    return built_and_unpacked(folder / "recipe.yaml", folder)


@pytest.fixture(scope="module")
def model(unpacked: Path, triton_environment: Environment) -> Iterator[TritonModel]:
    log = unpacked.with_name("triton.log")
    with triton_server(triton_environment, unpacked / "triton" / "models", models=["minilm"], log=log) as server:
        yield TritonModel(server, "minilm")


@pytest.fixture(scope="module")
def expected(unpacked: Path) -> list[list[float]]:
    """What llama.cpp's own server gives."""
    gguf = next((unpacked / "gguf").glob("*.gguf"))
    with serving(gguf, kind="encoder", context=256, log=unpacked.with_name("own.log")) as url:
        reply = HttpClient(int(url.rsplit(":", 1)[1])).post("/v1/embeddings", {"input": TEXTS}).json()
    return [item["embedding"] for item in reply["data"]]


def test_a_batch_has_the_vectors_of_llama_cpps_own_server(model: TritonModel, expected: list[list[float]]) -> None:
    for got, want in zip(embed(model, TEXTS), expected, strict=True):
        assert got == pytest.approx(want, abs=2e-4)


def test_single_requests_at_once_have_the_same_vectors(model: TritonModel, expected: list[list[float]]) -> None:
    with ThreadPoolExecutor(8) as clients:
        rows = list(clients.map(lambda n: embed(model, [TEXTS[n % 4]])[0], range(24)))
    for number, row in enumerate(rows):
        assert row == pytest.approx(expected[number % 4], abs=2e-4)


def test_a_text_that_is_too_long_spoils_only_its_own_request(model: TritonModel) -> None:
    texts = ["word " * 1000, *TEXTS]

    def ask(number: int) -> bool:
        try:
            return len(embed(model, [texts[number % 5]])) == 1
        except ToolError as error:
            return "at most 256 tokens" not in str(error)

    reply = model.infer([text_tensor("text_input", texts[:1], (1, 1))])
    assert (reply.status, "at most 256 tokens" in reply.json()["error"]) == (400, True)
    with ThreadPoolExecutor(10) as clients:
        assert list(clients.map(ask, range(20))) == [number % 5 != 0 for number in range(20)]


def test_the_whole_trial_passes(unpacked: Path, triton_environment: Environment, tmp_path: Path) -> None:
    checks = try_triton(unpacked, environment=triton_environment, logs=tmp_path)
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 6
