"""Which names a file of a bundle may have.

Rule: a name means the same file on every system, lies inside the folder, and cannot hide from the stock verifier.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MAX_PATH_BYTES = 512
_MAX_PART_BYTES = 255
_FORBIDDEN = frozenset('\\:*?"<>|')
# `model_signing` leaves these out unless told otherwise, so a signature over them would not verify there.
_IGNORED_BY_STOCK_VERIFIER = frozenset({".git", ".gitattributes", ".github", ".gitignore"})


def path_fault(path: str) -> str | None:
    """What is wrong with `path` as a bundle path, or None."""
    if not path:
        return "the name is empty"
    if not _encodable(path) or len(path.encode()) > MAX_PATH_BYTES:
        return f"the name is not UTF-8 or is longer than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "the path is absolute"
    if unicodedata.normalize("NFC", path) != path:
        return "the name is not in Unicode normal form C"
    parts = path.split("/")
    if parts[0].casefold() in _IGNORED_BY_STOCK_VERIFIER:
        return f"`{parts[0]}` is ignored by other verifiers"
    for part in parts:
        if fault := _part_fault(part):
            return fault
    return None


def set_fault(paths: Iterable[str]) -> str | None:
    """What is wrong with `paths` together: a name twice, two that differ only in case, a file that is also a folder."""
    spelled: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        folded = _fold(path)
        if folded in files:
            return f"`{path}` stands there twice (letter case does not count)"
        files.add(folded)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            folders.add(_fold(folder))
            if spelled.setdefault(_fold(folder), folder) != folder:
                return f"the folders `{folder}` and `{spelled[_fold(folder)]}` differ only in case"
    if both := files & folders:
        return f"`{min(both)}` is both a file and a folder"
    return None


def _part_fault(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return f"the path has a part `{part}`"
    if len(part.encode()) > _MAX_PART_BYTES:
        return f"a part of the path is longer than {_MAX_PART_BYTES} bytes"
    if part[-1] in ". ":
        return "a part of the path ends with a dot or a space"
    for character in part:
        if character in _FORBIDDEN or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            return f"the name has the character U+{ord(character):04X}"
    return None


def _encodable(path: str) -> bool:
    # A file name that is not UTF-8 reaches Python with lone surrogates.
    return not any("\ud800" <= c <= "\udfff" for c in path)


def _fold(path: str) -> str:
    return unicodedata.normalize("NFKC", path.casefold()).casefold()
