"""The process crashes, hangs, babbles, is killed or orphaned: always one clear error, never a wait without end."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgec.errors import ToolError
from edgec.formats.gguf.runtime.binding import library_path, load
from edgec.formats.gguf.runtime.channel import Channel
from edgec.formats.gguf.runtime.client import LlamaProcess, server_prompts
from edgec.formats.gguf.runtime.logs import KEPT
from edgec.formats.gguf.runtime.structs import CONTEXT_DEFAULTS, ContextParams, differing_fields


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process ends in time (a zombie that only awaits its parent has ended)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def after(delay_s: float, pid: int, number: int) -> None:
    threading.Timer(delay_s, os.kill, (pid, number)).start()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "out of memory is the usual reason"),
        (signal.SIGSEGV, "crashed .SIGSEGV."),
        (signal.SIGABRT, "crashed .SIGABRT."),
    ],
)
def test_death_in_the_middle_of_a_computation(docs_llama: Path, tmp_path: Path, number: int, message: str) -> None:
    log = tmp_path / "llama.log"
    with LlamaProcess(docs_llama, n_ctx=256, log=log) as process:
        after(0.3, process.pid, number)
        with pytest.raises(ToolError, match=message) as error:  # noqa: PT012  # the death comes at some call
            while True:
                process.logits(list(range(256)))
    assert f"the full log is {log}" in str(error.value)
    assert "last lines of its log:" in str(error.value)
    assert len(str(error.value).splitlines()) <= 23
    assert log.stat().st_size > 0


def test_a_hang_ends_at_the_timeout(docs_llama: Path) -> None:
    with LlamaProcess(docs_llama, n_ctx=256, timeout_s=1.0) as process:
        pid = process.pid
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(ToolError, match="no answer in 1 s and was ended"):
            process.logits([1])
        assert time.monotonic() - start < 5
    assert gone(pid)


def test_a_process_that_stops_reading_ends_at_the_timeout(docs_llama: Path) -> None:
    """A command larger than the pipe must not block the parent."""
    with LlamaProcess(docs_llama, n_ctx=256, timeout_s=1.0) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ToolError, match="no answer in 1 s"):
            process.tokenize("word " * 200_000, add_special=False, parse_special=False)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('ggml: hello', flush=True); import time; time.sleep(60)", "sent what is no reply"),
        ("print('[1]', flush=True); import time; time.sleep(60)", "sent what is no reply"),
        ("import sys; sys.exit(7)", "ended unexpectedly: exit code 7"),
        ("import os; os.close(1); import time; time.sleep(60)", "closed its output"),
    ],
)
def test_garbage_instead_of_a_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    (tmp_path / "odd_worker.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    channel = Channel("odd_worker", [], pass_fds=(), log=tmp_path / "log")
    with pytest.raises(ToolError, match=message):
        channel.ask({"do": "open"}, 20.0)
    assert gone(channel.pid)


def test_the_process_ends_with_the_block_and_its_log_is_removed(docs_llama: Path) -> None:
    with LlamaProcess(docs_llama, n_ctx=256) as process:
        pid, log = process.pid, process._log
        assert log.exists()
    assert gone(pid)
    assert not log.exists()
    process.close()


def test_logs_of_failures_are_kept_in_their_folder_and_do_not_pile_up(docs_llama: Path, tmp_path: Path) -> None:
    logs = tmp_path / "cache" / "logs"
    with LlamaProcess(docs_llama, n_ctx=256, logs=logs):
        assert len(list(logs.iterdir())) == 1
    server_prompts(docs_llama, [[{"role": "user", "content": "Hi"}]], logs=logs)
    assert list(logs.iterdir()) == []
    failed = []
    for age in range(KEPT + 3):
        with pytest.raises(ToolError) as error:
            LlamaProcess(tmp_path / "missing.gguf", n_ctx=256, logs=logs)
        path = Path(str(error.value).rsplit("the full log is ", 1)[1].strip())
        os.utime(path, (age, age))
        failed.append(path)
    assert sorted(logs.iterdir()) == sorted(failed[-KEPT:])


def test_interrupt_ends_the_process(docs_llama: Path) -> None:
    holder: list[int] = []

    def interrupted() -> None:
        with LlamaProcess(docs_llama, n_ctx=256) as process:
            holder.append(process.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert gone(holder[0])


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_process_does_not_outlive_a_killed_parent(docs_llama: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from edgec.formats.gguf.runtime.client import LlamaProcess\n"
        "process = LlamaProcess(Path(sys.argv[1]), n_ctx=256)\n"
        "print(process.pid, flush=True)\n"
        "while True: process.logits(list(range(256)))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(docs_llama)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid, 0.2)
        parent.kill()
        parent.wait()
    assert gone(pid)


def test_missing_model_is_refused_with_the_reason_from_the_log(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"(?s)missing\.gguf: error: llama\.cpp refuses the model.*No such file"):
        LlamaProcess(tmp_path / "missing.gguf", n_ctx=256)


@pytest.mark.parametrize("keep", [0, 4, 1000, 200_000])
def test_cut_file_is_refused(docs_llama: Path, tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(docs_llama.read_bytes()[:keep])
    with pytest.raises(ToolError, match=r"llama\.cpp"):
        LlamaProcess(cut, n_ctx=256)


def test_another_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"is not the llama\.cpp that edgec was built for: llama_version is missing"):
        load(Path(ctypes.util.find_library("m") or "libm.so.6"))
    with pytest.raises(ToolError, match="cannot be loaded"):
        load(tmp_path / "none.so")


def test_a_shifted_structure_is_noticed() -> None:
    """The layout of one version earlier: a field is missing, and everything after it reads its neighbour."""

    class Shifted(ctypes.Structure):
        _fields_ = tuple(f for f in ContextParams._fields_ if f[0] != "moe_cache_size")

    lib = load()
    assert differing_fields(lib.llama_context_default_params(), CONTEXT_DEFAULTS) == []
    raw = bytes(lib.llama_context_default_params())
    expected = {k: v for k, v in CONTEXT_DEFAULTS.items() if k != "moe_cache_size"}
    assert differing_fields(Shifted.from_buffer_copy(raw), expected)


def test_the_library_is_found_without_importing_its_package() -> None:
    program = (
        "import sys; from edgec.formats.gguf.runtime.binding import load; load(); print('xllamacpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert library_path().name.startswith("xllamacpp")
