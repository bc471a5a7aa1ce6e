"""The bundle's rerank models, by the server's `/v1/rerank`.

Rule: a score is the probability that a document answers the query. llama.cpp gives logits; Dify's thresholds are for
0 to 1, and the SDK's scaling to the best and the worst document would make every best one a 1.
"""

import math
from collections.abc import Mapping
from typing import Any

from dify_plugin import RerankModel
from dify_plugin.entities.model import ModelPropertyKey
from dify_plugin.entities.model.rerank import RerankDocument, RerankResult
from openai_server import failures, tokens
from openai_server.calling import VALIDATION_PATIENCE_S, ServerModel, validating
from openai_server.connection import Connection, Json
from typing_extensions import override

_RERANK = "/v1/rerank"


class EdgeRerankModel(ServerModel, RerankModel):
    """A rerank model behind llama.cpp's server, or another with the same `/v1/rerank`."""

    @override
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        query: str,
        docs: list[str],
        score_threshold: float | None = None,
        top_n: int | None = None,
        user: str | None = None,
    ) -> RerankResult:
        if not docs:
            return RerankResult(model=model, docs=[])
        connection = Connection.of(credentials)
        limit = self._property(model, credentials, ModelPropertyKey.CONTEXT_SIZE)
        # A query and a document share the context; a long query leaves half of it.
        asked = tokens.cut(connection, query, limit // 2)
        left = limit - tokens.count_texts(connection, [asked])[0]
        body = {"model": model, "query": asked, "documents": [tokens.cut(connection, doc, left) for doc in docs]}
        ranked = _ranked(connection, connection.ask(_RERANK, body), docs)
        kept = [doc for doc in ranked if score_threshold is None or doc.score >= score_threshold]
        return RerankResult(model=model, docs=kept[:top_n] if top_n is not None else kept)

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        """Asks for the score of one document."""
        with validating(model):
            connection = Connection.of(credentials)
            body = {"model": model, "query": "ping", "documents": ["pong"]}
            _ranked(connection, connection.ask(_RERANK, body, patience_s=VALIDATION_PATIENCE_S), ["pong"])


def _ranked(connection: Connection, answer: Json, docs: list[str]) -> list[RerankDocument]:
    """The documents, best first. Raises InvokeBadRequestError for an answer without a score for each."""
    results = answer.get("results")
    scores = {
        item["index"]: item["relevance_score"]
        for item in (results if isinstance(results, list) else [])
        if isinstance(item, dict) and isinstance(item.get("relevance_score"), int | float) and "index" in item
    }
    if sorted(scores) != list(range(len(docs))):
        what = f"asked for the scores of {len(docs)} documents, the answer does not hold them"
        raise failures.not_understood(connection.address.url(_RERANK), what)
    ranked = [RerankDocument(index=i, text=docs[i], score=_probability(scores[i])) for i in range(len(docs))]
    return sorted(ranked, key=lambda doc: (-doc.score, doc.index))


def _probability(logit: float) -> float:
    """The logistic function, without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
