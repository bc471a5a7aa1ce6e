"""What every part of the recipe document shares: the strict base and the kinds of text.

Rule: a text that becomes a file name, a tag or a path is typed here, once.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgec.documents.shape import InWords
from edgec.documents.typed import mistake

# Names that become file names, tags and registry paths.
Slug = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64),
    InWords("lower-case letters and digits, with single `-`, `_` or `.` between them"),
]
Version = Annotated[
    str,
    Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$", max_length=64),
    InWords("three numbers with dots"),
]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise mistake("the path is empty", "give a path, or remove the line")
    return text


RelativePath = Annotated[str, AfterValidator(_not_blank)]


class Document(BaseModel):
    """Base of every typed document: unknown keys are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
