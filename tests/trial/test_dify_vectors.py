"""The plugin's embedding and rerank models against real servers."""

from __future__ import annotations

import json
import math
import urllib.request
from typing import Any

import pytest
from dify_case import Plugin

pytestmark = pytest.mark.toolchain

DOCS = ["Rain falls on the city.", "A file is opened with open().", "rain " * 500, "The sun."]


def direct(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the server itself answers."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))


def embed(plugin: Plugin, url: str, texts: list[str]) -> dict[str, Any]:
    return dict(plugin.process.ask("invoke_text_embedding", **plugin.request(url), texts=texts, input_type="document"))


def rerank(plugin: Plugin, url: str, **limits: Any) -> list[dict[str, Any]]:
    request = {"query": "weather", "docs": DOCS, "score_threshold": None, "top_n": None, **limits}
    return list(plugin.process.ask("invoke_rerank", **plugin.request(url), **request)["docs"])


def test_embeddings_in_batches_are_those_of_the_server_in_order(embedder: Plugin, minilm: str) -> None:
    """40 texts are two requests of 32 at most."""
    texts = [f"Text number {n} about {DOCS[n % 2]}" for n in range(40)]
    embedded = embed(embedder, minilm, texts)
    assert len(embedded["embeddings"]) == 40
    for n in (0, 31, 32, 39):
        (own,) = direct(minilm, "/v1/embeddings", {"input": [texts[n]]})["data"]
        assert cosine(embedded["embeddings"][n], own["embedding"]) > 0.9999
    tokens = embedder.process.ask("get_text_embedding_num_tokens", **embedder.request(minilm), texts=texts)
    assert sum(tokens["num_tokens"]) == embedded["usage"]["total_tokens"] > 0


def test_embeddings_mean_something(embedder: Plugin, minilm: str) -> None:
    rain, file, drizzle = embed(embedder, minilm, [*DOCS[:2], "It is a wet day in town."])["embeddings"]
    assert len(rain) == 384
    assert cosine(rain, drizzle) > cosine(file, drizzle) + 0.2


def test_a_text_over_the_context_is_cut(embedder: Plugin, minilm: str) -> None:
    beginning = "rain " * 200
    long, short = embed(embedder, minilm, [beginning + "rain " * 5000, beginning])["embeddings"]
    assert cosine(long, short) > 0.98


def test_the_credentials_of_embeddings(embedder: Plugin, minilm: str) -> None:
    credentials = {"endpoint_url": minilm}
    assert embedder.process.ask("validate_provider_credentials", credentials=credentials)["result"] is True


def test_scores_are_probabilities_best_first(ranker: Plugin, reranker: str) -> None:
    docs = rerank(ranker, reranker)
    assert [doc["text"] for doc in docs] == [DOCS[doc["index"]] for doc in docs]
    assert [doc["score"] for doc in docs] == sorted((doc["score"] for doc in docs), reverse=True)
    kept = [0, 1, 3]  # the server refuses the third, which is longer than its context
    answer = direct(reranker, "/v1/rerank", {"query": "weather", "documents": [DOCS[n] for n in kept]})
    logits = {kept[result["index"]]: result["relevance_score"] for result in answer["results"]}
    scores = {doc["index"]: doc["score"] for doc in docs}
    assert sorted(scores) == [0, 1, 2, 3]
    for index, logit in logits.items():
        assert scores[index] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)


def test_the_best_and_those_above_a_threshold(ranker: Plugin, reranker: str) -> None:
    docs = rerank(ranker, reranker)
    assert rerank(ranker, reranker, top_n=2) == docs[:2]
    middle = (docs[1]["score"] + docs[2]["score"]) / 2
    assert rerank(ranker, reranker, score_threshold=middle) == docs[:2]
    assert rerank(ranker, reranker, docs=[]) == []


def test_the_credentials_of_a_reranker(ranker: Plugin, reranker: str) -> None:
    credentials = {"endpoint_url": reranker}
    assert ranker.process.ask("validate_provider_credentials", credentials=credentials)["result"] is True


def cosine(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
