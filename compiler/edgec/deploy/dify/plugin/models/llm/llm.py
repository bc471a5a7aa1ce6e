"""The bundle's language models, by `/v1/chat/completions`, or `/v1/completions` without a chat template."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from dify_plugin import LargeLanguageModel
from dify_plugin.entities.model import ModelFeature
from dify_plugin.entities.model.llm import LLMMode, LLMResultChunk, LLMResultChunkDelta
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    PromptMessage,
    PromptMessageTool,
    UserPromptMessage,
)
from openai_server import failures, tokens
from openai_server.answer import Answer
from openai_server.calling import VALIDATION_PATIENCE_S, ServerModel, validating
from openai_server.chat import chat_messages, chat_parameters, chat_tools, plain_prompt
from openai_server.connection import Connection, Json
from typing_extensions import override

_CHAT, _COMPLETIONS = "/v1/chat/completions", "/v1/completions"


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
        path, prompt = self._prompt(model, credentials, prompt_messages, tools)
        body = {"model": model, **prompt, **chat_parameters(model_parameters)}
        if stop:
            body["stop"] = stop
        if not stream:
            return self._whole(model, credentials, prompt, connection.ask(path, body))
        # Without this option the server counts no tokens, and Dify shows 0.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        return self._pieces(model, credentials, prompt, connection.stream(path, body))

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        """Tokens of the prompt as the server would build it; a rough guess where it cannot be asked."""
        _, prompt = self._prompt(model, credentials, prompt_messages, tools)
        return tokens.count_prompt(Connection.of(credentials), prompt)

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        """Asks for one token. `/health` and `/v1/models` would answer without the key, too."""
        path, prompt = self._prompt(model, credentials, [UserPromptMessage(content="ping")], None)
        with validating(model):
            connection = Connection.of(credentials)
            answer = connection.ask(path, {"model": model, "max_tokens": 1, **prompt}, patience_s=VALIDATION_PATIENCE_S)
            if not answer.get("choices"):
                raise failures.not_understood(connection.address.url(path), "the answer holds no message")

    def _prompt(
        self,
        model: str,
        credentials: Mapping[str, Any],
        messages: Sequence[PromptMessage],
        tools: Sequence[PromptMessageTool] | None,
    ) -> tuple[str, Json]:
        """Where to send what. Raises InvokeBadRequestError for what the model cannot take."""
        schema = self.get_model_schema(model, credentials)
        features: set[ModelFeature] = set(schema.features or ()) if schema else set()
        given = chat_tools(tools, features)
        if self.get_model_mode(model, credentials) is LLMMode.COMPLETION:
            return _COMPLETIONS, {"prompt": plain_prompt(messages)}
        chat: Json = {"messages": chat_messages(messages, features)}
        return _CHAT, chat | ({"tools": given, "tool_choice": "auto"} if given else {})

    def _whole(
        self, model: str, credentials: dict[str, Any], prompt: Json, payload: Json
    ) -> Generator[LLMResultChunk, None, None]:
        """One chunk with everything: many releases of Dify look at the first one only."""
        answer = Answer()
        text = answer.grow(payload) + answer.close()
        yield self._last(model, credentials, prompt, answer, text)

    def _pieces(
        self, model: str, credentials: dict[str, Any], prompt: Json, payloads: Iterator[Json]
    ) -> Generator[LLMResultChunk, None, None]:
        """Text as it comes; then, whole, the tool calls, the reason of the end and the usage."""
        answer, index = Answer(), 0
        for payload in payloads:
            if text := answer.grow(payload):
                delta = LLMResultChunkDelta(index=index, message=AssistantPromptMessage(content=text))
                yield LLMResultChunk(model=model, delta=delta)
                index += 1
        yield self._last(model, credentials, prompt, answer, answer.close(), index=index)

    def _last(
        self, model: str, credentials: dict[str, Any], prompt: Json, answer: Answer, text: str, *, index: int = 0
    ) -> LLMResultChunk:
        """The chunk that ends an answer. Raises InvokeServerUnavailableError for one that has no end."""
        connection, used = Connection.of(credentials), answer.usage
        if answer.finish_reason is None:
            raise failures.broken_off(connection.address.root)
        usage = self._calc_response_usage(
            model,
            credentials,
            used.get("prompt_tokens") or tokens.count_prompt(connection, prompt),
            used.get("completion_tokens") or tokens.guess(answer.text),
        )
        last = AssistantPromptMessage(content=text, tool_calls=_tool_calls(answer))
        delta = LLMResultChunkDelta(index=index, message=last, finish_reason=answer.finish_reason, usage=usage)
        return LLMResultChunk(model=model, delta=delta)


def _tool_calls(answer: Answer) -> list[AssistantPromptMessage.ToolCall]:
    return [
        AssistantPromptMessage.ToolCall(
            id=call.id,
            type="function",
            function=AssistantPromptMessage.ToolCall.ToolCallFunction(name=call.name, arguments=call.arguments),
        )
        for _, call in sorted(answer.tool_calls.items())
    ]
