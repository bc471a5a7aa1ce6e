"""The bundle's language models, by the server's `/v1/chat/completions`."""

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from dify_plugin import LargeLanguageModel
from dify_plugin.entities.model import ModelFeature
from dify_plugin.entities.model.llm import LLMResultChunk, LLMResultChunkDelta
from dify_plugin.entities.model.message import AssistantPromptMessage, PromptMessage, PromptMessageTool
from openai_server import failures, tokens
from openai_server.answer import Answer
from openai_server.calling import VALIDATION_PATIENCE_S, ServerModel, validating
from openai_server.chat import chat_messages, chat_parameters, chat_tools
from openai_server.connection import Connection, Json
from typing_extensions import override

_CHAT = "/v1/chat/completions"


class EdgeLanguageModel(ServerModel, LargeLanguageModel):
    """A language model behind an OpenAI-compatible server."""

    @override
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: bool = True,
        user: str | None = None,
    ) -> Generator[LLMResultChunk, None, None]:
        connection = Connection.of(credentials)
        features = self._features(model, credentials)
        body: Json = {
            "model": model,
            "messages": chat_messages(prompt_messages, features),
            **chat_parameters(model_parameters),
        }
        if given := chat_tools(tools, features):
            body |= {"tools": given, "tool_choice": "auto"}
        if stop:
            body["stop"] = stop
        if stream:
            # Without it the server counts no tokens, and Dify shows 0.
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        payloads = connection.stream(_CHAT, body) if stream else iter([connection.ask(_CHAT, body)])
        return self._chunks(model, credentials, body, connection, payloads)

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        """Tokens of the prompt as the server would build it; a rough guess where it cannot be asked."""
        features = self._features(model, credentials)
        return tokens.count_chat(
            Connection.of(credentials), chat_messages(prompt_messages, features), chat_tools(tools, features)
        )

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        """Asks for one token. `/health` and `/v1/models` would answer without the key, too."""
        body = {"model": model, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
        with validating(model):
            connection = Connection.of(credentials)
            answer = connection.ask(_CHAT, body, patience_s=VALIDATION_PATIENCE_S)
            if not answer.get("choices"):
                raise failures.not_understood(connection.address.url(_CHAT), "the answer holds no message")

    def _features(self, model: str, credentials: Mapping[str, Any]) -> set[ModelFeature]:
        schema = self.get_model_schema(model, credentials)
        return set(schema.features or ()) if schema else set()

    def _chunks(
        self, model: str, credentials: dict[str, Any], body: Json, connection: Connection, payloads: Iterator[Json]
    ) -> Generator[LLMResultChunk, None, None]:
        """Text as it comes; then the tool calls, whole; then the reason of the end and the usage."""
        answer, index, length = Answer(), 0, 0
        for payload in payloads:
            if text := answer.grow(payload):
                yield _chunk(model, index, AssistantPromptMessage(content=text))
                index, length = index + 1, length + tokens.guess(text)
        if answer.finish_reason is None:
            raise failures.broken_off(connection.address.url(_CHAT))
        last = AssistantPromptMessage(content=answer.close(), tool_calls=_tool_calls(answer))
        used = answer.usage
        prompt = used.get("prompt_tokens") or tokens.count_chat(connection, body["messages"], body.get("tools", []))
        usage = self._calc_response_usage(model, credentials, prompt, used.get("completion_tokens") or length)
        delta = LLMResultChunkDelta(index=index, message=last, finish_reason=answer.finish_reason, usage=usage)
        yield LLMResultChunk(model=model, delta=delta)


def _chunk(model: str, index: int, message: AssistantPromptMessage) -> LLMResultChunk:
    return LLMResultChunk(model=model, delta=LLMResultChunkDelta(index=index, message=message))


def _tool_calls(answer: Answer) -> list[AssistantPromptMessage.ToolCall]:
    return [
        AssistantPromptMessage.ToolCall(
            id=call.id,
            type="function",
            function=AssistantPromptMessage.ToolCall.ToolCallFunction(name=call.name, arguments=call.arguments),
        )
        for _, call in sorted(answer.tool_calls.items())
    ]
