"""Dify's messages, tools and parameters, as the body of a chat request.

Rule: what the model cannot take (an image, a tool) is refused here, by name, before the server is asked.
"""

import json
from collections.abc import Sequence
from typing import Any

from dify_plugin.entities.model import ModelFeature
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageRole,
    PromptMessageTool,
    TextPromptMessageContent,
    ToolPromptMessage,
)
from dify_plugin.errors.model import InvokeBadRequestError

from openai_server.connection import Json

_TOOLS = {ModelFeature.TOOL_CALL, ModelFeature.MULTI_TOOL_CALL}


def chat_tools(tools: Sequence[PromptMessageTool] | None, features: set[ModelFeature]) -> list[Json]:
    """The tools of a request. Raises InvokeBadRequestError when the model has no tool calling."""
    if tools and not features & _TOOLS:
        raise InvokeBadRequestError("this model's chat template knows no tools: use an agent strategy without them")
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools or []
    ]


def chat_messages(messages: Sequence[PromptMessage], features: set[ModelFeature]) -> list[Json]:
    """The messages of a request. Raises InvokeBadRequestError for content that the model cannot take."""
    return [_message(message, features) for message in messages]


def plain_prompt(messages: Sequence[PromptMessage]) -> str:
    """The prompt for a model without a chat template: the texts of the messages, one after the other."""
    return "\n\n".join(message.get_text_content() for message in messages)


def chat_parameters(parameters: dict[str, Any]) -> Json:
    """The parameters of a request: Dify's, with its `response_format` and `json_schema` as the server wants them."""
    chosen = {name: value for name, value in parameters.items() if name not in ("response_format", "json_schema")}
    form = parameters.get("response_format")
    if form == "json_schema":
        return {**chosen, "response_format": {"type": form, "json_schema": _schema(parameters.get("json_schema"))}}
    return {**chosen, "response_format": {"type": form}} if form else chosen


def _schema(text: Any) -> Json:
    """A JSON schema, in OpenAI's envelope, whether the operator typed the envelope or not."""
    try:
        schema = json.loads(text or "")
    except ValueError as error:
        raise InvokeBadRequestError(f"the JSON schema is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise InvokeBadRequestError("the JSON schema is no JSON object")
    return schema if isinstance(schema.get("schema"), dict) else {"name": "answer", "schema": schema}


def _message(message: PromptMessage, features: set[ModelFeature]) -> Json:
    # A developer's message is a system message to models that are not OpenAI's.
    role = PromptMessageRole.SYSTEM if message.role is PromptMessageRole.DEVELOPER else message.role
    body: Json = {"role": role.value, "content": _content(message, features)}
    if isinstance(message, AssistantPromptMessage) and message.tool_calls:
        body["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    if isinstance(message, ToolPromptMessage):
        body["tool_call_id"] = message.tool_call_id
        if message.name:
            body["name"] = message.name
    return body


def _content(message: PromptMessage, features: set[ModelFeature]) -> str | list[Json]:
    """A text where there is only text: many chat templates take nothing else."""
    if not isinstance(message.content, list):
        return message.content or ""
    if all(isinstance(part, TextPromptMessageContent) for part in message.content):
        return message.get_text_content()
    parts: list[Json] = []
    for part in message.content:
        if isinstance(part, TextPromptMessageContent):
            parts.append({"type": "text", "text": part.data})
        elif isinstance(part, ImagePromptMessageContent) and ModelFeature.VISION in features:
            parts.append({"type": "image_url", "image_url": {"url": part.data}})
        else:
            raise InvokeBadRequestError(f"this model cannot read a message with {part.type.value} content")
    return parts
