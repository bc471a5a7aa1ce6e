"""Other processes, so that locks are tested as they are used."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from holder import Start, start_holder


@pytest.fixture
def other_process() -> Iterator[Start]:
    """Starts code in another process and returns when it has reached its `PAUSE`."""
    children: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        child = start_holder(code)
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()
