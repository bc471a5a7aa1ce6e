"""What Dify would refuse of a recipe's `package.dify`, found before anything is built.

Rule: every mistake at its line, with a value that Dify takes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from edgec.deploy.dify.icon import IconError, read_icon
from edgec.deploy.dify.identity import author_fault, name_fault, version_fault
from edgec.deploy.dify.keys import load_dify_key
from edgec.deploy.model import Mistake
from edgec.documents.wording import shown
from edgec.errors import InputError
from edgec.recipe.model import Recipe
from edgec.recipe.package import DifyPackage, LocalText

# The daemon takes texts of fewer than 1024 characters.
MAX_TEXT = 1023
_AT = ("package", "dify")
# What a line of text may hold of the characters that nobody sees: they join letters, and the parts of emoji.
_JOINERS = "\u200c\u200d"
_ONE_LINE = "write it on one line; in YAML, `>-` joins lines"


def mistakes(settings: DifyPackage, recipe: Recipe, resolve: Callable[[str], Path]) -> Iterator[Mistake]:
    """Mistakes that the recipe and the files it names show."""
    if (fault := author_fault(settings.author)) is not None:
        hint = f"choose another, for example `{_near(settings.author, 'acme')}`"
        yield Mistake((*_AT, "author"), f"Dify refuses the author {shown(settings.author)}: {fault}", hint)
    yield from _name(settings)
    yield from _version(settings, recipe)
    yield from _texts(settings, recipe)
    if settings.icon is not None:
        try:
            read_icon(resolve(settings.icon))
        except IconError as error:
            yield Mistake((*_AT, "icon"), str(error), error.hint)
    if settings.key is not None:
        try:
            load_dify_key(resolve(settings.key))
        except InputError as error:
            found = error.diagnostics[0]
            yield Mistake((*_AT, "key"), f"the key for Dify: {found.message}", found.hint or "name another file")


def _name(settings: DifyPackage) -> Iterator[Mistake]:
    # The default is made of the recipe's name so that Dify takes it.
    if settings.name is not None and (fault := name_fault(settings.name)) is not None:
        hint = f"choose another, for example `{_near(settings.name, 'my-model')}`"
        yield Mistake((*_AT, "name"), f"Dify refuses the name {shown(settings.name)}: {fault}", hint)


def _version(settings: DifyPackage, recipe: Recipe) -> Iterator[Mistake]:
    version = settings.version or recipe.version
    if (fault := version_fault(version)) is None:
        return
    message = f"Dify refuses the version {shown(version)}: {fault}"
    if settings.version is not None:
        yield Mistake((*_AT, "version"), message, "choose another, for example `1.0.0` or `1.0.0-rc1`")
    else:
        yield Mistake(
            ("version",), message, f"give the plugin its own: `package.dify.version: {_near_version(version)}`"
        )


def _texts(settings: DifyPackage, recipe: Recipe) -> Iterator[Mistake]:
    hint = f"shorten it to {MAX_TEXT} characters"
    for key, text in (("label", settings.label), ("description", settings.description)):
        for language in ("en_US", "zh_Hans"):
            written = _written(text, language)
            if len(written) > MAX_TEXT:
                message = f"Dify takes {MAX_TEXT} characters of a {key}; this one has {len(written)}"
                yield Mistake((*_AT, key, language), message, hint)
            elif (fault := _line_fault(written)) is not None:
                yield Mistake((*_AT, key, language), f"the {key} for Dify {fault[0]}", fault[1])
    described = "" if settings.description is not None else recipe.description or ""
    if len(described) > MAX_TEXT:
        message = f"Dify takes {MAX_TEXT} characters of a description; this one has {len(described)}"
        yield Mistake(("description",), message, "write a shorter one: `package.dify.description: {en_US: ...}`")
    elif (fault := _line_fault(described)) is not None:
        hint = f"{fault[1]}; or give Dify its own: `package.dify.description: {{en_US: ...}}`"
        yield Mistake(("description",), f"the description, which Dify shows, {fault[0]}", hint)


def _written(text: LocalText | None, language: str) -> str:
    return ((text.zh_Hans if language == "zh_Hans" else text.en_US) or "") if text is not None else ""


def _line_fault(text: str) -> tuple[str, str] | None:
    """Why `text` is no line that people can read, and what to do; None for a good one, and for none."""
    if text and not any(unicodedata.category(c)[0] in "LMNPS" for c in text):
        return "is blank", "write some words, or remove the key"
    for character in text:
        category, code = unicodedata.category(character), ord(character)
        is_no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        if character in "\n\r" or category in ("Zl", "Zp"):
            return "has more than one line", _ONE_LINE
        # Controls, and what turns the direction of writing or is not seen.
        if is_no_character or (category in ("Cc", "Cf", "Cs") and character not in _JOINERS):
            return f"holds the character U+{code:04X}, which nobody sees", "remove it"
    return None


def _near(name: str, otherwise: str) -> str:
    """A name that Dify takes, as near as possible."""
    near = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:64]
    return near if near and author_fault(near) is None else otherwise


def _near_version(version: str) -> str:
    numbers, _, suffix = version.partition("-")
    near = "-".join(filter(None, (numbers, re.sub(r"[^0-9A-Za-z]", "", suffix)[:16])))
    return near if version_fault(near) is None else numbers if version_fault(numbers) is None else "1.0.0"
