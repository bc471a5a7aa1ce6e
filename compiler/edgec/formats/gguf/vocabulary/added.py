"""Which llama.cpp type an added token gets. Rule: what the model's authors forgot to mark special is told by its look."""

from __future__ import annotations

from edgec.formats.gguf.vocabulary.entries import TokenType
from edgec.formats.gguf.vocabulary.files import AddedToken

_CONTROL_TEXTS = frozenset({"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
_CONTROL_FRAMES = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
SPACE = "\u2581"


def looks_special(content: str) -> bool:
    """Whether llama.cpp's converter takes `content` for a control token by its text alone."""
    return content in _CONTROL_TEXTS or any(content.startswith(a) and content.endswith(b) for a, b in _CONTROL_FRAMES)


def added_entry(token: AddedToken) -> tuple[str, TokenType]:
    """The text and type under which llama.cpp matches `token` in a text."""
    if token.special or looks_special(token.content):
        return token.content, TokenType.CONTROL
    # llama.cpp matches user-defined tokens in the text before spaces are replaced.
    return token.content.replace(SPACE, " "), TokenType.USER_DEFINED
