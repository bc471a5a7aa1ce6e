"""Which llama.cpp type an added token gets. Rule: a token not marked special is judged by its look."""

from __future__ import annotations

from edgec.formats.gguf.vocabulary.entries import TokenType
from edgec.formats.gguf.vocabulary.files import AddedToken

SPACE = "\u2581"
_CONTROL_TEXTS = frozenset({"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
_CONTROL_FRAMES = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
# Texts that llama.cpp itself takes for control tokens while it loads, whatever their type in the file.
_RUNTIME_CONTROL_TEXTS = frozenset((
    "<end_of_turn>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "</s>", "<eos>", "<turn|>",
    "<|tool_response>", "[e~[", "<fim-prefix>", "<fim_prefix>", "<PRE>", "▁<PRE>", "<fim-suffix>", "<fim_suffix>",
    "<SUF>", "▁<SUF>", "<fim-middle>", "<fim_middle>", "<MID>", "▁<MID>", "<fim-pad>", "<fim_pad>", "<PAD>",
    "[PAD]", "<fim-repo>", "<REPO>", "<reponame>",
))  # fmt: skip


def looks_special(content: str) -> bool:
    """Whether llama.cpp's converter takes `content` for a control token by its text alone."""
    return content in _CONTROL_TEXTS or any(content.startswith(a) and content.endswith(b) for a, b in _CONTROL_FRAMES)


def taken_for_control(content: str) -> bool:
    """Whether the converter or the runtime takes `content` for a control token, although it is not marked special."""
    return looks_special(content) or content in _RUNTIME_CONTROL_TEXTS


def added_entry(token: AddedToken) -> tuple[str, TokenType]:
    """The text and type under which llama.cpp matches `token` in a text."""
    if token.special or looks_special(token.content):
        return token.content, TokenType.CONTROL
    # llama.cpp matches user-defined tokens in the text before spaces are replaced.
    return token.content.replace(SPACE, " "), TokenType.USER_DEFINED
