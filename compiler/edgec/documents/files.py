"""Looking at files by names that people wrote.

Rule: a name no file can have (a NUL, 5,000 letters) or a folder that may not be read is "not there", never a crash.
"""

from __future__ import annotations

from pathlib import Path


def names_a_file(text: str) -> bool:
    """Whether a name that may be a built-in one or a path is a path."""
    return "/" in text or text.endswith((".yaml", ".yml"))


def is_file(path: Path) -> bool:
    """Whether a file stands there and can be seen."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder stands there and can be seen."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it cannot be listed."""
    try:
        return sorted(p.name for p in folder.iterdir())
    except (OSError, ValueError):
        return []
