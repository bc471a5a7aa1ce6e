"""A compile that is killed, stopped or lied to goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from edgec.errors import ToolError
from edgec.events import Event, Progress, silent
from edgec.formats.gguf.compile import CompiledGguf, GgufJob, compile_gguf, compile_together
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.source.local import open_local
from edgec.source.model import Checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_local(tiny_models.DOCS_LLAMA)


@pytest.fixture(scope="module")
def layout(checkpoint: Checkpoint) -> GgufLayout:
    mapped = tiny_models.map_by_hand(checkpoint)
    vocabulary = tiny_models.vocabulary_by_hand(checkpoint)
    return plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme="f32")


@pytest.fixture(scope="module")
def whole(checkpoint: Checkpoint, layout: GgufLayout, tmp_path_factory: pytest.TempPathFactory) -> CompiledGguf:
    return compile_gguf(
        checkpoint, layout, tmp_path_factory.mktemp("whole"), imatrix=None, report=silent, action="compile"
    )


def _again(checkpoint: Checkpoint, layout: GgufLayout, folder: Path) -> tuple[CompiledGguf, int]:
    """The result, and how many bytes were there already when it began."""
    events: list[Progress] = []
    lock = threading.Lock()

    def keep(event: Event) -> None:
        if isinstance(event, Progress) and event.detail:
            with lock:
                events.append(event)

    made = compile_gguf(checkpoint, layout, folder, imatrix=None, report=keep, action="compile")
    total = sum(t.nbytes for t in layout.tensors)
    sizes = {t.name: t.nbytes for t in layout.tensors}
    return made, total - sum(sizes[name] for name in {e.detail for e in events})


_STOPPED = """
import os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import tiny_models
from edgec.events import Progress
from edgec.formats.gguf import journal
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import plan_layout
from edgec.source.local import open_local

journal._SYNC_BYTES = 0
checkpoint = open_local(tiny_models.DOCS_LLAMA)
layout = plan_layout(tiny_models.map_by_hand(checkpoint), tiny_models.vocabulary_by_hand(checkpoint),
                     checkpoint.header.tensors, scheme="f32")
folder = Path({folder!r})
{report}
compile_gguf(checkpoint, layout, folder, imatrix=None, report=report, action="compile", threads=2)
"""

# The worker waits in the reporter until the other thread has listed enough tensors, however slow that is.
_KILL_WITH_TENSORS_LISTED = """
def report(event):
    if event.done > event.total * 0.8:
        while (folder / "journal.jsonl").read_bytes().count(b"\\n") < 1 + len(layout.tensors) // 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
"""

# The first slab interrupts; every later one gives the interrupted thread time to stop the workers, and is counted.
_INTERRUPT_AND_COUNT = """
interrupted = threading.Event()
slabs = 0

def interrupt(number, frame):
    interrupted.set()
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)

def report(event):
    global slabs
    slabs += 1
    if slabs == 1:
        os.kill(os.getpid(), signal.SIGINT)
    interrupted.wait()
    time.sleep(0.3)
    (folder.parent / "slabs").write_text(str(slabs))
"""


def _run_and_stop(folder: Path, report: str) -> subprocess.CompletedProcess[str]:
    script = _STOPPED.format(tests=str(Path(__file__).parent), folder=str(folder), report=report)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )


def test_a_killed_compile_resumes(
    checkpoint: Checkpoint, layout: GgufLayout, whole: CompiledGguf, tmp_path: Path
) -> None:
    done = _run_and_stop(tmp_path, _KILL_WITH_TENSORS_LISTED)
    assert done.returncode == -signal.SIGKILL, done.stderr
    made, kept_bytes = _again(checkpoint, layout, tmp_path)
    assert made == whole
    # Tensors are finished in file order but for those in two workers' hands.
    assert kept_bytes >= sum(sorted(t.nbytes for t in layout.tensors)[: len(layout.tensors) // 2])
    assert [p.name for p in tmp_path.iterdir()] == ["model.gguf"]


def test_control_c_stops_at_once_and_can_be_resumed(
    checkpoint: Checkpoint, layout: GgufLayout, whole: CompiledGguf, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    done = _run_and_stop(folder, _INTERRUPT_AND_COUNT)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode in {1, 130, -signal.SIGINT}
    assert int((tmp_path / "slabs").read_text()) < len(layout.tensors) // 2
    assert _again(checkpoint, layout, folder)[0] == whole


@pytest.mark.parametrize(
    "damage",
    [b"\0" * 4096, b'{"name": "x", garbage', b'{"name":"x"}', b"\xff\xfe", b"[]", b"7", b"[" * 100_000],
    ids=["zeros", "garbage", "too little", "not UTF-8", "a list", "a number", "deep"],
)
def test_a_damaged_journal_ends_at_the_damage(
    *,
    checkpoint: Checkpoint,
    layout: GgufLayout,
    whole: CompiledGguf,
    tmp_path: Path,
    damage: bytes,
) -> None:
    path = _finished_but_for_the_end(checkpoint, layout, tmp_path)
    lines = path.read_bytes().splitlines()
    kept = {json.loads(line)["name"] for line in lines[1:6]}
    path.write_bytes(b"\n".join([*lines[:6], damage, *lines[6:]]) + b"\n")
    made, kept_bytes = _again(checkpoint, layout, tmp_path)
    assert made == whole
    assert kept_bytes == sum(t.nbytes for t in layout.tensors if t.name in kept)


@pytest.mark.parametrize("content", [b"\0" * 4096, b"\xff\xfe\n", b""], ids=["zeros", "not UTF-8", "empty"])
def test_a_journal_without_its_first_line_is_none(
    *,
    checkpoint: Checkpoint,
    layout: GgufLayout,
    whole: CompiledGguf,
    tmp_path: Path,
    content: bytes,
) -> None:
    _finished_but_for_the_end(checkpoint, layout, tmp_path).write_bytes(content)
    assert _again(checkpoint, layout, tmp_path) == (whole, 0)


def test_a_link_in_the_folder_is_never_written_through(
    checkpoint: Checkpoint, layout: GgufLayout, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "model.gguf").symlink_to(victim)
    with pytest.raises(ToolError):
        compile_gguf(checkpoint, layout, tmp_path / "work", imatrix=None, report=silent, action="compile")
    assert victim.read_bytes() == b"precious"


def _finished_but_for_the_end(checkpoint: Checkpoint, layout: GgufLayout, folder: Path) -> Path:
    """A folder with all data and the journal, as a kill just before the end leaves it; the journal's path."""
    compile_together(checkpoint, [GgufJob(layout, folder, None, "compile")], report=silent)
    return folder / "journal.jsonl"


def test_nothing_is_made_twice(checkpoint: Checkpoint, layout: GgufLayout, whole: CompiledGguf, tmp_path: Path) -> None:
    _finished_but_for_the_end(checkpoint, layout, tmp_path)
    made, kept_bytes = _again(checkpoint, layout, tmp_path)
    assert made == whole
    assert kept_bytes == sum(t.nbytes for t in layout.tensors)


def test_the_journal_is_not_believed(
    checkpoint: Checkpoint, layout: GgufLayout, whole: CompiledGguf, tmp_path: Path
) -> None:
    """A byte of a finished tensor changed, and the last line of the journal cut off."""
    path = _finished_but_for_the_end(checkpoint, layout, tmp_path)
    victim = next(t for t in layout.tensors if t.name == "blk.2.ffn_up.weight")
    with (tmp_path / victim.file).open("r+b") as file:
        file.seek(victim.offset + 1000)
        file.write(b"\xff")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines)[:-5])
    cut = json.loads(lines[-1])["name"]
    made, kept_bytes = _again(checkpoint, layout, tmp_path)
    assert made == whole
    lost = {victim.name, cut}
    assert kept_bytes == sum(t.nbytes for t in layout.tensors if t.name not in lost)


def test_a_damaged_line_ends_the_journal(
    checkpoint: Checkpoint, layout: GgufLayout, whole: CompiledGguf, tmp_path: Path
) -> None:
    path = _finished_but_for_the_end(checkpoint, layout, tmp_path)
    lines = path.read_bytes().splitlines()
    believed = {json.loads(line)["name"] for line in lines[1:3]}
    for damage in (b"\0" * 40, b"[]", b'{"name": "blk.0"}', b"\xff\xfe"):
        path.write_bytes(b"\n".join([*lines[:3], damage, *lines[4:]]) + b"\n")
        made, kept_bytes = _again(checkpoint, layout, tmp_path)
        assert made == whole
        assert kept_bytes == sum(t.nbytes for t in layout.tensors if t.name in believed)


def test_another_output_in_the_folder_is_made_anew(
    checkpoint: Checkpoint, layout: GgufLayout, whole: CompiledGguf, tmp_path: Path
) -> None:
    _finished_but_for_the_end(checkpoint, layout, tmp_path)
    mapped, vocabulary = tiny_models.map_by_hand(checkpoint), tiny_models.vocabulary_by_hand(checkpoint)
    smaller = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme="q8_0")
    made, kept_bytes = _again(checkpoint, smaller, tmp_path)
    assert kept_bytes == 0
    assert (tmp_path / "model.gguf").stat().st_size == smaller.size_bytes == made.files[0].size_bytes


def test_a_disk_too_small_is_found_before_any_work(checkpoint: Checkpoint, layout: GgufLayout, tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    (file,) = layout.files
    huge = replace(layout, files=(replace(file, size_bytes=disk.f_bavail * disk.f_frsize + (1 << 40)),))
    with pytest.raises(ToolError, match="no space left"):
        compile_gguf(checkpoint, huge, tmp_path, imatrix=None, report=silent, action="compile")
    assert (tmp_path / "model.gguf").stat().st_size == 0
