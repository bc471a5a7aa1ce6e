"""A reranker on a real tritonserver: the scores of llama.cpp's own server; and the whole trials of its bundle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from triton_case import Shop, built_and_unpacked

from edgec.errors import ToolError
from edgec.toolchain.environments import Environment
from edgec.trial.http_client import HttpClient
from edgec.trial.llama_server import serving
from edgec.trial.triton_client import TritonModel
from edgec.trial.triton_server import triton_server
from edgec.trial.triton_vectors import scores

pytestmark = pytest.mark.toolchain
QUERY = "list the files of a folder"
DOCUMENTS = ["The sea was calm.", "The command ls lists files.", "naïve text", "list the files of a folder"]
CONTEXT = 64
RECIPE = """\
schema: edgec/recipe/v1
name: ranker
version: 1.0.0
target: pi5-8gb
source: {{path: {checkpoint}, licence: apache-2.0}}
context: 64
artifacts: [{{format: gguf, quantize: {{scheme: q8_0}}}}]
package: {{dify: {{author: acme}}}}
"""


@pytest.fixture(scope="module")
def recipe(reranker_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranker-recipe") / "recipe.yaml"
    path.write_text(RECIPE.format(checkpoint=reranker_checkpoint), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def unpacked(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_and_unpacked(recipe, tmp_path_factory.mktemp("ranker"))


@pytest.fixture(scope="module")
def model(unpacked: Path, triton_environment: Environment) -> Iterator[TritonModel]:
    log = unpacked.with_name("triton.log")
    with triton_server(triton_environment, unpacked / "triton" / "models", models=["ranker"], log=log) as server:
        yield TritonModel(server, "ranker")


def test_scores_are_those_of_llama_cpps_own_server(model: TritonModel, unpacked: Path) -> None:
    gguf = next((unpacked / "gguf").glob("*.gguf"))
    with serving(gguf, kind="reranker", context=CONTEXT, log=unpacked.with_name("own.log")) as url:
        asked = {"query": QUERY, "documents": DOCUMENTS}
        reply = HttpClient(int(url.rsplit(":", 1)[1])).post("/v1/rerank", asked).json()
    own = {item["index"]: item["relevance_score"] for item in reply["results"]}
    expected = [own[index] for index in range(len(DOCUMENTS))]
    assert max(expected) - min(expected) > 0.1
    assert scores(model, QUERY, DOCUMENTS) == pytest.approx(expected, abs=2e-3)


def test_what_does_not_fit_is_refused_and_the_model_goes_on(model: TritonModel) -> None:
    for documents, says in ((["word " * 1000], "at most 64 tokens"), (["a"] * 9, "holds 9 texts, not 1 to 8")):
        with pytest.raises(ToolError, match=says):
            scores(model, QUERY, documents)
    assert len(scores(model, QUERY, DOCUMENTS)) == len(DOCUMENTS)


def test_verify_runs_it_in_triton_and_in_dify(unpacked: Path, toolchains_root: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path, toolchains_root)
    shutil.copytree(unpacked.with_name("config"), tmp_path / "config" / "edgec")
    code, last = shop.run("verify", str(unpacked), "--run", "triton", "--run", "dify")
    assert code == 0, last
    assert [(trial["software"], len(trial["checks"])) for trial in last["trials"]] == [
        ("tritonserver", 6),
        ("Dify's plugin SDK", 5),
    ]
