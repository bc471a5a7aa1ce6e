"""Several outputs from one read: the bytes of each alone, the source read once, each resumed for itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
from tiny_models import TinyShape

from edgec.documents.canonical import sha256_file
from edgec.errors import InputError
from edgec.events import Event, Progress, silent
from edgec.formats.gguf.compile import CompiledGguf, GgufJob, compile_gguf, compile_together
from edgec.formats.gguf.imatrix_file import Imatrix, read_imatrix, write_imatrix
from edgec.formats.gguf.layout import GgufLayout, plan_layout
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, DType

SCHEMES = ("q4_k_m", "q8_0", "q4_0")
# Everything that is read beside weights: the journals, /proc itself.
_SLACK_BYTES = 64 << 10


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Some megabytes of random weights, rows of which are reordered."""
    shape = TinyShape("llama", 4, 256, 768, 4, 2, vocabulary=4096)
    return tiny_models.write_random(tmp_path_factory.mktemp("source"), shape)


def _layout(checkpoint: Checkpoint, scheme: str, **settings: object) -> GgufLayout:
    mapped, vocabulary = tiny_models.map_by_hand(checkpoint), tiny_models.vocabulary_by_hand(checkpoint)
    return plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme=scheme, **settings)  # type: ignore[arg-type]


def _jobs(checkpoint: Checkpoint, folder: Path, schemes: Sequence[str] = SCHEMES) -> list[GgufJob]:
    return [GgufJob(_layout(checkpoint, s), folder / s, None, s) for s in schemes]


def _alone(checkpoint: Checkpoint, job: GgufJob, folder: Path) -> CompiledGguf:
    return compile_gguf(checkpoint, job.layout, folder, imatrix=job.imatrix, report=silent, action="alone")


def _bytes_read() -> int:
    """Bytes this process has read by system calls, from files and the page cache alike."""
    (line,) = [x for x in Path("/proc/self/io").read_text().splitlines() if x.startswith("rchar:")]
    return int(line.split()[1])


def _weight_bytes(checkpoint: Checkpoint) -> int:
    return sum(t.nbytes for t in checkpoint.header.tensors.values())


@pytest.mark.parametrize("schemes", [SCHEMES, ("source", *SCHEMES)], ids=["three", "with the reference"])
def test_the_source_is_read_once(checkpoint: Checkpoint, tmp_path: Path, schemes: tuple[str, ...]) -> None:
    jobs = _jobs(checkpoint, tmp_path, schemes)
    before = _bytes_read()
    # One thread: with several, what was finished out of order is read again for the digests, from the outputs.
    compile_together(checkpoint, jobs, report=silent, threads=1)
    read = _bytes_read() - before
    assert _weight_bytes(checkpoint) <= read < _weight_bytes(checkpoint) + _SLACK_BYTES


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype.is_float])
@pytest.mark.parametrize("threads", [1, 5])
def test_each_output_is_what_it_is_alone(dtype: DType, threads: int, tmp_path: Path) -> None:
    """Outputs of other types, order and sharding, two with importance matrices, two that want the same of a tensor."""
    checkpoint = tiny_models.write_random(tmp_path / "source", TinyShape("llama", 2, 256, 512, 4, 2, dtype=dtype))
    matrices = [_random_imatrix(checkpoint, tmp_path / f"imatrix-{seed}", seed) for seed in (1, 2)]
    reordered = _layout(checkpoint, "q4_k_m")
    jobs = [
        GgufJob(_layout(checkpoint, "q4_k_m"), tmp_path / "a", None, "a"),
        GgufJob(_layout(checkpoint, "q5_k_m", shard_size_bytes=1 << 20), tmp_path / "b", None, "b"),
        GgufJob(_layout(checkpoint, "source", name="reference"), tmp_path / "c", None, "c"),
        GgufJob(_layout(checkpoint, "q4_k_m", has_imatrix=True), tmp_path / "d", matrices[0], "d"),
        GgufJob(_layout(checkpoint, "iq4_xs", has_imatrix=True), tmp_path / "e", matrices[1], "e"),
        GgufJob(replace(reordered, tensors=reordered.tensors[::-1]), tmp_path / "f", None, "f"),
        GgufJob(_layout(checkpoint, "q8_0", overrides=[("blk.*.attn_v.weight", "f32")]), tmp_path / "g", None, "g"),
    ]
    together = compile_together(checkpoint, jobs, report=silent, threads=threads)
    for job, made in zip(jobs, together, strict=True):
        assert made == _alone(checkpoint, job, tmp_path / "alone" / job.action)
        for file in made.files:
            assert file.sha256 == sha256_file(job.folder / file.name)
            assert (job.folder / file.name).read_bytes() == (tmp_path / "alone" / job.action / file.name).read_bytes()
    assert together[0].tensors == together[5].tensors[::-1]
    assert together[0].tensors != together[3].tensors


def _random_imatrix(checkpoint: Checkpoint, path: Path, seed: int) -> Imatrix:
    sums = tiny_models.sums_for(tiny_models.map_by_hand(checkpoint), seed=seed)
    write_imatrix(path, sums, dict.fromkeys(sums, 100), datasets=[], chunk_count=1, chunk_size=100)
    return read_imatrix(path)


def test_a_tensor_that_outputs_map_in_other_ways_is_each_ones_own(checkpoint: Checkpoint, tmp_path: Path) -> None:
    mapped = tiny_models.map_by_hand(checkpoint)
    plain = replace(mapped, tensors=tuple(replace(t, unpermute_heads=None) for t in mapped.tensors))
    vocabulary = tiny_models.vocabulary_by_hand(checkpoint)
    layouts = [plan_layout(m, vocabulary, checkpoint.header.tensors, scheme="q8_0") for m in (mapped, plain)]
    jobs = [GgufJob(layout, tmp_path / str(i), None, str(i)) for i, layout in enumerate(layouts)]
    made = compile_together(checkpoint, jobs, report=silent)
    assert [m == _alone(checkpoint, j, j.folder / "alone") for m, j in zip(made, jobs, strict=True)] == [True, True]
    assert made[0] != made[1]


def test_progress_is_told_of_each_output(checkpoint: Checkpoint, tmp_path: Path) -> None:
    events: list[Event] = []
    jobs = _jobs(checkpoint, tmp_path)
    compile_together(checkpoint, jobs, report=events.append)
    for job in jobs:
        mine = [e for e in events if isinstance(e, Progress) and e.action == job.action]
        total = sum(t.nbytes for t in job.layout.tensors)
        assert max(e.done for e in mine) == total == mine[0].total
        assert mine[-1] == Progress(job.action, total, total, "bytes")
        assert {e.detail for e in mine[:-1]} == {t.name for t in job.layout.tensors}


def test_what_an_output_has_is_not_made_again(checkpoint: Checkpoint, tmp_path: Path) -> None:
    jobs = _jobs(checkpoint, tmp_path)
    first, second, _ = whole = compile_together(checkpoint, jobs, report=silent)
    # The first has everything, the second all but one tensor, the third nothing.
    lost = jobs[1].layout.tensors[5].name
    _forget(jobs[1].folder, {lost})
    events: list[Event] = []
    assert compile_together(checkpoint, jobs[:2], report=events.append) == (first, second)
    assert {(e.action, e.detail) for e in events if isinstance(e, Progress) and e.detail} == {("q8_0", lost)}
    before = _bytes_read()
    assert compile_together(checkpoint, jobs[:2], report=silent, threads=1) == (first, second)
    # Each is read to be believed, and for the digest of its file; the source is not.
    outputs = sum(t.nbytes for job in jobs[:2] for t in job.layout.tensors)
    assert _bytes_read() - before < 2 * outputs + _SLACK_BYTES
    _forget(jobs[2].folder, {t.name for t in jobs[2].layout.tensors})
    assert compile_together(checkpoint, jobs, report=silent) == whole


def _forget(folder: Path, names: set[str]) -> None:
    """Take the entries of these tensors out of the journal."""
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(x for x in lines if not any(f'"{name}"'.encode() in x for name in names)))


def test_bytes_of_an_older_file_between_tensors_are_not_kept(tmp_path: Path) -> None:
    """Vectors of 4 elements leave a gap behind them; a file of another build may have stood there."""
    checkpoint = tiny_models.write_random(tmp_path / "source", TinyShape("llama", 1, 36, 44, 2, 1))
    job = GgufJob(_layout(checkpoint, "f16"), tmp_path / "a", None, "a")
    assert any(t.nbytes % 32 for t in job.layout.tensors)
    job.folder.mkdir()
    (job.folder / "model.gguf").write_bytes(b"\xff" * job.layout.size_bytes)
    assert compile_together(checkpoint, [job], report=silent) == (_alone(checkpoint, job, tmp_path / "alone"),)


def test_a_weight_that_is_not_a_number_stops_all_of_them(tmp_path: Path) -> None:
    checkpoint = tiny_models.write_random(tmp_path / "source", TinyShape("llama", 2, 256, 256, 4, 2))
    tensor = checkpoint.header.tensors["model.layers.1.mlp.up_proj.weight"]
    with (checkpoint.root / "model.safetensors").open("r+b") as file:
        file.seek(tensor.offset + 2 * 7)
        file.write(b"\x80\x7f")  # infinity in bfloat16
    with pytest.raises(InputError, match="index 7 is inf"):
        compile_together(checkpoint, _jobs(checkpoint, tmp_path), report=silent)


_KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_compile_together import _jobs
from edgec.formats.gguf import journal
from edgec.formats.gguf.compile import compile_together
from edgec.source.local import open_local

journal._SYNC_BYTES = 0
checkpoint = open_local(Path({source!r}))
folder = Path({folder!r})
jobs = _jobs(checkpoint, folder)

def listed(job):
    return (job.folder / "journal.jsonl").read_bytes().count(b"\\n")

# The worker waits in the reporter until the journals' thread has listed enough tensors, however slow that is.
def report(event):
    if event.done > event.total * 0.8:
        while any(listed(job) < 1 + len(job.layout.tensors) // 2 for job in jobs):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

compile_together(checkpoint, jobs, report=report, threads=2)
"""


def test_after_a_kill_every_output_goes_on_where_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    script = _KILLED.format(
        tests=str(Path(__file__).parent), source=str(checkpoint.root), folder=str(tmp_path / "killed")
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    events: list[Event] = []
    jobs = _jobs(checkpoint, tmp_path / "killed")
    made = compile_together(open_local(checkpoint.root), jobs, report=events.append)
    assert made == compile_together(checkpoint, _jobs(checkpoint, tmp_path / "whole"), report=silent)
    for job in jobs:
        again = {e.detail for e in events if isinstance(e, Progress) and e.action == job.action and e.detail}
        count = len(job.layout.tensors)
        assert 0 < len(again) <= count - count // 2
