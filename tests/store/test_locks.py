"""A lock excludes other processes and other holders in this one, and dies with its holder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from holder import PAUSE, Start

from edgec.errors import ToolError
from edgec.store.locks import exclusive, shared, unless_held


def hold(path: Path) -> str:
    """Code that holds the lock `path` until it is told to go on."""
    return f"from edgec.store.locks import exclusive\nwith exclusive(Path({str(path)!r})):\n    {PAUSE}"


def test_a_free_lock_is_taken_without_waiting_and_again(tmp_path: Path) -> None:
    waits: list[None] = []
    for _ in range(2):
        with exclusive(tmp_path / "new" / "lock", waiting=lambda: waits.append(None)):
            pass
    assert waits == []


def test_another_process_waits_until_it_is_freed(tmp_path: Path, other_process: Start) -> None:
    path = tmp_path / "lock"
    holder = other_process(hold(path))
    waiting, taken = threading.Event(), threading.Event()

    def take() -> None:
        with exclusive(path, waiting=waiting.set):
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert waiting.wait(10)
    assert not taken.wait(0.2)
    holder.communicate("go on\n", timeout=10)
    assert taken.wait(10)
    thread.join()


def test_a_killed_holder_frees_it(tmp_path: Path, other_process: Start) -> None:
    path = tmp_path / "lock"
    holder = other_process(hold(path))
    holder.kill()
    holder.wait(10)
    waits: list[None] = []
    with exclusive(path, waiting=lambda: waits.append(None)):
        pass
    assert waits == []


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "lock"):
        raise KeyError
    with exclusive(tmp_path / "lock", waiting=lambda: pytest.fail("still held")):
        pass


def test_a_lock_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ToolError) as refused, exclusive(tmp_path / "file" / "lock"):
        pass
    assert refused.value.diagnostics[0].hint


def test_a_lock_is_shared_and_then_not_taken_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with shared(path), shared(path), unless_held(path) as free:
        assert not free
    with unless_held(path) as free, unless_held(path) as again:
        assert free
        assert not again
