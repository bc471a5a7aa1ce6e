"""Results appear whole, once, and are believed only while their files are what was stored."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from holder import PAUSE, Start

from edgec.documents.canonical import sha256_bytes
from edgec.errors import ToolError
from edgec.store.actions import ActionStore, Result, Workspace

KEY = "sha256:" + "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> ActionStore:
    return ActionStore(tmp_path / "store")


def fill(store: ActionStore, key: str = KEY, content: bytes = b"weights") -> Result:
    """Stores a result of one file."""
    with store.work(key) as work:
        assert isinstance(work, Workspace)
        (work.folder / "model.gguf").write_bytes(content)
        return work.commit({"model.gguf": None}, {"tensors": 3})


def at_work(store: ActionStore, then: str = "") -> str:
    """Code of a process that fills `KEY`, pauses half-way, and goes on with `then`."""
    return "\n".join(
        (
            "from edgec.store.actions import ActionStore",
            f"with ActionStore(Path({str(store.root)!r})).work({KEY!r}) as work:",
            "    (work.folder / 'model.gguf').write_bytes(b'weights')",
            f"    {PAUSE}",
            f"    {then or 'pass'}",
        )
    )


def test_a_result_is_found_with_its_files_and_facts(store: ActionStore) -> None:
    assert store.lookup(KEY) is None
    made = fill(store)
    assert store.lookup(KEY) == made
    (file,) = made.files
    assert (file.size_bytes, file.digest) == (7, sha256_bytes(b"weights"))
    assert made.path("model.gguf").read_bytes() == b"weights"
    assert made.facts == {"tensors": 3}


def test_stored_files_cannot_be_edited_by_accident(store: ActionStore) -> None:
    assert stat.S_IMODE(fill(store).path("model.gguf").stat().st_mode) == 0o444


def test_who_comes_later_gets_the_result(store: ActionStore) -> None:
    made = fill(store)
    with store.work(KEY) as work:
        assert work == made


def test_a_step_that_does_not_commit_stores_nothing_and_leaves_its_remains(store: ActionStore) -> None:
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        (work.folder / "half").write_bytes(b"x")
    assert store.lookup(KEY) is None
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        assert (work.folder / "half").read_bytes() == b"x"


def test_commit_removes_what_is_not_named(store: ActionStore) -> None:
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        (work.folder / "deep").mkdir()
        (work.folder / "deep" / "journal").write_bytes(b"")
        (work.folder / "journal").write_bytes(b"")
        (work.folder / "model.gguf").write_bytes(b"weights")
        result = work.commit({"model.gguf": None}, {})
    assert sorted(p.name for p in result.folder.iterdir()) == ["model.gguf", "result.json"]
    assert not work.folder.exists()


def test_a_missing_output_is_an_error_and_no_result(store: ActionStore) -> None:
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        with pytest.raises(ToolError):
            work.commit({"never-written.gguf": None}, {})
    assert store.lookup(KEY) is None


def test_a_killed_commit_leaves_remains_that_can_be_written(store: ActionStore) -> None:
    # The last moment before the rename: everything is there, and a resumed step opens its files for writing.
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        (work.folder / "a.gguf").write_bytes(b"weights")
        with pytest.raises(ToolError):
            work.commit({"a.gguf": None, "b.gguf": None}, {})
    left = store.root / "partial" / KEY.removeprefix("sha256:") / "a.gguf"
    assert stat.S_IMODE(left.stat().st_mode) & stat.S_IWUSR


@pytest.mark.parametrize("content", [b"weightS", b"weights and more", b""])
def test_a_changed_file_is_no_result_and_is_replaced(store: ActionStore, content: bytes) -> None:
    path = fill(store).path("model.gguf")
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    assert store.lookup(KEY) is None
    fill(store)
    assert path.read_bytes() == b"weights"
    assert store.lookup(KEY) is not None


def test_a_new_time_alone_does_no_harm(store: ActionStore) -> None:
    made = fill(store)
    os.utime(made.path("model.gguf"), ns=(1, 1))
    assert store.lookup(KEY) == made


def test_a_copied_store_is_hashed_once(store: ActionStore) -> None:
    made = fill(store)
    path = made.path("model.gguf")
    status = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)
    assert store.lookup(KEY) == made
    # As it is now is remembered: without hashing, the change that keeps size, time and inode is not seen.
    rot(path)
    assert store.lookup(KEY) == made


def rot(path: Path) -> None:
    """Changes the content but not size, time or inode, as a failing disk does."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(bytes(b ^ 1 for b in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_another_file_of_the_same_size_and_time_is_no_result(store: ActionStore) -> None:
    path = fill(store).path("model.gguf")
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"weightS")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert store.lookup(KEY) is None


def test_rot_is_found_by_hashing(store: ActionStore) -> None:
    made = fill(store)
    (entry,) = store.entries()
    assert made.damaged_files() == ()
    assert not store.is_damaged(entry.name)
    rot(made.path("model.gguf"))
    assert made.damaged_files() == (made.path("model.gguf"),)
    assert store.is_damaged(entry.name)


def test_a_result_without_its_record_or_a_file_is_damaged(store: ActionStore) -> None:
    made = fill(store)
    (entry,) = store.entries()
    made.path("model.gguf").unlink()
    assert made.damaged_files() == (made.path("model.gguf"),)
    assert store.is_damaged(entry.name)
    store.discard(KEY)
    assert store.is_damaged(entry.name)


def test_work_in_progress_is_never_damaged(store: ActionStore) -> None:
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)
        (entry,) = store.entries()
        assert not store.is_damaged(entry.name)


def test_a_discarded_result_runs_again_while_others_read_it(store: ActionStore) -> None:
    made = fill(store)
    with store.in_use(KEY), made.path("model.gguf").open("rb") as reader:
        store.discard(KEY)
        assert store.lookup(KEY) is None
        assert made.path("model.gguf").exists()
        fill(store, content=b"another")
        assert reader.read() == b"weights"
    assert made.path("model.gguf").read_bytes() == b"another"
    store.discard("sha256:" + "c" * 64)


@pytest.mark.parametrize(
    "record", [b"", b"[]", b'{"files":3,"facts":{}}', b'{"files":[{}],"facts":{}}', b'{"files":[]}']
)
def test_a_damaged_record_is_no_result(store: ActionStore, record: bytes) -> None:
    (fill(store).folder / "result.json").write_bytes(record)
    assert store.lookup(KEY) is None


def test_two_processes_do_the_work_once(store: ActionStore, other_process: Start) -> None:
    first = other_process(at_work(store, then="work.commit({'model.gguf': None}, {'by': 'first'})"))
    waiting = threading.Event()
    found: list[Workspace | Result] = []

    def second() -> None:
        with store.work(KEY, waiting=waiting.set) as work:
            found.append(work)

    thread = threading.Thread(target=second)
    thread.start()
    assert waiting.wait(10)
    assert store.lookup(KEY) is None
    first.communicate("go on\n", timeout=20)
    thread.join(20)
    (work,) = found
    assert isinstance(work, Result)
    assert work.facts == {"by": "first"}


def test_what_another_process_works_on_is_not_waited_for(store: ActionStore, other_process: Start) -> None:
    first = other_process(at_work(store, then="work.commit({'model.gguf': None}, {'by': 'first'})"))
    with store.work_unless_held(KEY) as held:
        assert held is None
    first.communicate("go on\n", timeout=20)
    with store.work_unless_held(KEY) as done:
        assert isinstance(done, Result)
    with store.work_unless_held("sha256:" + "b" * 64) as free:
        assert isinstance(free, Workspace)
        with store.work_unless_held("sha256:" + "b" * 64) as mine_already:
            assert mine_already is None


def test_a_killed_process_leaves_no_result_and_no_lock(store: ActionStore, other_process: Start) -> None:
    worker = other_process(at_work(store))
    worker.kill()
    worker.wait(10)
    assert store.lookup(KEY) is None
    assert fill(store).path("model.gguf").read_bytes() == b"weights"


def test_entries_are_named_sized_and_removed(store: ActionStore) -> None:
    fill(store)
    with store.work("sha256:" + "b" * 64) as work:
        assert isinstance(work, Workspace)
        (work.folder / "reference-00001-of-00002.gguf").write_bytes(b"12345")
    result, partial = store.entries()
    assert (result.name, result.is_reference) == ("results/" + "a" * 64, False)
    assert (partial.name, partial.size_bytes, partial.is_reference) == ("partial/" + "b" * 64, 5, True)
    for entry in (result, partial):
        store.remove(entry.name)
    assert store.entries() == ()
    assert store.lookup(KEY) is None


def test_a_discarded_result_is_made_again(store: ActionStore) -> None:
    fill(store)
    store.discard(KEY)
    assert store.lookup(KEY) is None
    store.discard(KEY)
    with store.work(KEY) as work:
        assert isinstance(work, Workspace)


def test_what_another_build_uses_stays(store: ActionStore, other_process: Start) -> None:
    made = fill(store)
    name = "results/" + "a" * 64
    code = f"from edgec.store.actions import ActionStore\nwith ActionStore(Path({str(store.root)!r})).in_use({KEY!r}):"
    user = other_process(f"{code}\n    {PAUSE}")
    assert store.remove(name) is False
    assert store.lookup(KEY) == made
    user.communicate("go on\n", timeout=20)
    assert store.remove(name) is True
    assert store.lookup(KEY) is None


def test_a_build_that_works_is_not_waited_for(store: ActionStore) -> None:
    with store.in_use(KEY), store.work(KEY) as work:
        assert isinstance(work, Workspace)
        (entry,) = store.entries()
        assert store.remove(entry.name) is False
        assert work.folder.is_dir()


def test_cleaning_waits_for_work_and_takes_what_is_gone_as_done(store: ActionStore, other_process: Start) -> None:
    worker: subprocess.Popen[str] = other_process(at_work(store, then="work.commit({'model.gguf': None}, {})"))
    (entry,) = store.entries()
    thread = threading.Thread(target=store.remove, args=(entry.name,))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    worker.communicate("go on\n", timeout=20)
    thread.join(20)
    # The partial folder became a result meanwhile: nobody's work is lost, and nothing is raised.
    assert [e.name for e in store.entries()] == ["results/" + "a" * 64]
