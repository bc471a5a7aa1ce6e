"""Features are seen in what a template writes. The templates here are short ones of the kinds that models bring."""

from __future__ import annotations

import pytest
from dify_cases import CHATML, served

from edgec.deploy.features import llm_features

TOOLS = "{% if tools %}{% for t in tools %}{{ t.function | tojson }}{% endfor %}{% endif %}"
TURN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
CALLS = "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}"
END = "{% endfor %}<assistant>"
ONE_CALL = (
    "{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call only') }}{% endif %}"
    "<call>{{ m.tool_calls[0].function.name }} {{ m.tool_calls[0].function.arguments | tojson }}</call>{% endif %}"
)
# Adds the arguments to a text, as templates do that want OpenAI's form of them.
TEXT_CALLS = (
    "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + c.function.arguments + '</call>' }}{% endfor %}"
)
STRIPPED = "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}<assistant>"
ALL = ("tool-call", "multi-tool-call", "stream-tool-call")


@pytest.mark.parametrize(
    ("template", "features"),
    [
        (None, ()),
        (CHATML, ()),
        (TOOLS + TURN + CALLS + END, ALL),
        (TOOLS + TURN + TEXT_CALLS + END, ALL),
        (TOOLS + TURN + ONE_CALL + END, ("tool-call", "stream-tool-call")),
        # Tools are offered, but what came of a call cannot be told to the model.
        (TOOLS + TURN + END, ()),
        # Calls are shown, but never offered.
        (TURN + CALLS + END, ()),
        (STRIPPED, ("agent-thought",)),
        (TURN + "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}" + END,
         ("agent-thought",)),
        (TURN + END + "<think>\n", ("agent-thought",)),
        (TOOLS + TURN + CALLS + END + "<think>", (*ALL, "agent-thought")),
        # The word alone, in a comment of the template, means nothing.
        ("{# tools <think> tool_calls #}" + CHATML, ()),
        ("{{ raise_exception('no') }}", ()),
    ],
)  # fmt: skip
def test_features(template: str | None, features: tuple[str, ...]) -> None:
    of_the_server = () if template is None else ("structured-output",)
    assert llm_features(served(chat_template=template)) == (*features, *of_the_server)
