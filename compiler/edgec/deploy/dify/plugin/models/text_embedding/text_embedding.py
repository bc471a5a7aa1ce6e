"""The bundle's embedding models, by the server's `/v1/embeddings`."""

import time
from collections.abc import Mapping
from typing import Any

from dify_plugin import TextEmbeddingModel
from dify_plugin.entities.model import EmbeddingInputType, ModelPropertyKey, PriceType
from dify_plugin.entities.model.text_embedding import EmbeddingUsage, TextEmbeddingResult
from openai_server import failures, tokens
from openai_server.calling import VALIDATION_PATIENCE_S, ServerModel, validating
from openai_server.connection import Connection, Json
from typing_extensions import override

_EMBEDDINGS = "/v1/embeddings"


class EdgeTextEmbeddingModel(ServerModel, TextEmbeddingModel):
    """An embedding model behind an OpenAI-compatible server."""

    @override
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        texts: list[str],
        user: str | None = None,
        input_type: EmbeddingInputType = EmbeddingInputType.DOCUMENT,
    ) -> TextEmbeddingResult:
        connection = Connection.of(credentials)
        limit = self._property(model, credentials, ModelPropertyKey.CONTEXT_SIZE)
        batch = self._property(model, credentials, ModelPropertyKey.MAX_CHUNKS)
        vectors: list[list[float]] = []
        used = 0
        for first in range(0, len(texts), batch):
            inputs = [tokens.cut(connection, text, limit) for text in texts[first : first + batch]]
            answer = connection.ask(_EMBEDDINGS, _body(model, inputs))
            vectors += _vectors(connection, answer, len(inputs))
            used += int((answer.get("usage") or {}).get("total_tokens") or 0)
        return TextEmbeddingResult(model=model, embeddings=vectors, usage=self._usage(model, credentials, used))

    def get_num_tokens(self, model: str, credentials: dict[str, Any], texts: list[str]) -> list[int]:
        """Tokens of each text by the server's tokenizer; a rough guess where it cannot be asked."""
        return tokens.count_texts(Connection.of(credentials), texts)

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        """Asks for the embedding of a word."""
        with validating(model):
            connection = Connection.of(credentials)
            _vectors(
                connection, connection.ask(_EMBEDDINGS, _body(model, ["ping"]), patience_s=VALIDATION_PATIENCE_S), 1
            )

    def _usage(self, model: str, credentials: dict[str, Any], used: int) -> EmbeddingUsage:
        price = self.get_price(model=model, credentials=credentials, price_type=PriceType.INPUT, tokens=used)
        return EmbeddingUsage(
            tokens=used,
            total_tokens=used,
            unit_price=price.unit_price,
            price_unit=price.unit,
            total_price=price.total_amount,
            currency=price.currency,
            latency=time.perf_counter() - self.started_at,
        )


def _body(model: str, texts: list[str]) -> Json:
    return {"model": model, "input": texts, "encoding_format": "float"}


def _vectors(connection: Connection, answer: Json, expected: int) -> list[list[float]]:
    """The embeddings in the order of the texts. Raises InvokeBadRequestError when one is missing or no vector."""
    data = answer.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    items.sort(key=lambda item: int(item.get("index", 0)))
    vectors = [item.get("embedding") for item in items]
    # Pooling `none` gives a vector per token, and a broken model gives nulls.
    if len(vectors) != expected or not all(isinstance(v, list) and v and _numbers(v) for v in vectors):
        what = f"asked for {expected} embeddings, the answer does not hold so many vectors"
        raise failures.not_understood(connection.address.url(_EMBEDDINGS), what)
    return [vector for vector in vectors if vector]


def _numbers(vector: list[Any]) -> bool:
    return all(isinstance(element, int | float) for element in vector)
