"""What a chat model can do, as far as its chat template knows: tool calls, several at once, reasoning.

Rule: the template is really rendered and the text is looked at; nothing is concluded from a model's name. Vision needs
a second model that projects images, which no artifact carries, so that it is never said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.deploy.model import ServedModel
from edgec.errors import InputError
from edgec.prove.chat_template import render_chat

# Words that no template contains by itself.
_FIRST, _SECOND, _ARGUMENT, _RESULT, _THOUGHT = (f"edgec-{w}-7f3a" for w in ("one", "two", "city", "sunny", "because"))
_ASK = {"role": "user", "content": "What is the weather?"}


def llm_features(model: ServedModel) -> tuple[str, ...]:
    """Dify's names of the features of a text generator, in Dify's order."""
    if model.chat_template is None:
        return ()
    found: list[str] = []
    if takes_tools(model):
        found.append("tool-call")
        if _shows_calls(model, (_FIRST, _SECOND)):
            found.append("multi-tool-call")
        # The runtime sends a call in pieces whenever the model can make one.
        found.append("stream-tool-call")
    if _reasons(model):
        found.append("agent-thought")
    # Not the model's doing: the server lets it write nothing but what fits the schema.
    found.append("structured-output")
    return tuple(found)


def takes_tools(model: ServedModel) -> bool:
    """Whether the model's chat template shows it tools, and its calls of them with their results."""
    return model.chat_template is not None and _shows_calls(model, (_FIRST,))


def _shows_calls(model: ServedModel, names: Sequence[str]) -> bool:
    """Whether the prompt shows the tools to the model, and its calls of all of them with their results."""
    tools = [_tool(name) for name in names]
    offered = _rendered(model, [_ASK], tools)
    if not all(name in offered for name in names):
        return False
    # Once with the arguments as an object, once as the text that OpenAI's API sends: templates take one of the two.
    for arguments in ({"where": _ARGUMENT}, f'{{"where": "{_ARGUMENT}"}}'):
        calls = [
            {"id": f"call{i:05d}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, name in enumerate(names)
        ]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "name": name, "content": f"{_RESULT}-{name}"}
            for call, name in zip(calls, names, strict=True)
        ]
        talk: list[Mapping[str, Any]] = [_ASK, {"role": "assistant", "content": "", "tool_calls": calls}, *results]
        # Without the tools, so that their names can only come from the calls.
        text = _rendered(model, talk, None)
        if text.count(_ARGUMENT) == len(names) and all(f"{_RESULT}-{name}" in text for name in names):
            return True
    return False


def _reasons(model: ServedModel) -> bool:
    """Whether the template has a place for thoughts: it shows them apart from answers, or takes them out of those."""
    thought = {"role": "assistant", "content": "4", "reasoning_content": _THOUGHT}
    if _THOUGHT in _rendered(model, [_ASK, thought], None):
        return True
    spoken = {"role": "assistant", "content": f"<think>\n{_THOUGHT}\n</think>\n\n4"}
    old = _rendered(model, [_ASK, spoken, _ASK], None)
    begun = _rendered(model, [_ASK], None)
    return (bool(old) and _THOUGHT not in old) or begun.rstrip().endswith("<think>")


def _rendered(
    model: ServedModel, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
) -> str:
    """The prompt; empty when the template refuses the conversation."""
    try:
        return render_chat(model.chat_template or "", messages, model.special_texts, tools=tools)
    except InputError:
        return ""


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]}
    return {
        "type": "function",
        "function": {"name": name, "description": "Looks something up.", "parameters": parameters},
    }
