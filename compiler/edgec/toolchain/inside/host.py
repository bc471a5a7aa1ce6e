"""Runs one script, one module's command line or one program in a toolchain's environment. edgec starts this file and
never imports it; it imports only the standard library, of that environment's Python.

Rules: standard output and error are the tool's own and go to the log; what a script answers goes, one JSON object a
line, to a descriptor of its own; when edgec dies, even by SIGKILL, this process and all it started die too.

    python -I host.py script FILE        FILE has `run(request: dict, progress) -> dict`; the request is JSON on stdin;
                                          `peak_mib`, this process's peak of memory, is added to what it returns
    python -I host.py module NAME ARG...  as `python -m NAME ARG...`
    python -I host.py program FILE ARG... becomes that program, for servers
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def main(kind: str, name: str, *arguments: str) -> None:
    """Runs what the command line names."""
    _die_with(int(os.environ.pop("EDGEC_LIFELINE_FD")))
    _be_the_first_to_go()
    if kind == "program":
        # Python ignores it, and a program would inherit that.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(name, [name, *arguments])  # noqa: S606 - edgec's own argument list, no shell
    if kind == "module":
        sys.argv = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        return
    replies = _Replies(int(os.environ.pop("EDGEC_REPLY_FD")))
    request = json.load(sys.stdin)
    result = _load(Path(name)).run(request, replies.progress)
    replies.send({"result": result, "peak_mib": _peak_mib()})


class _Replies:
    """What the script says to edgec."""

    def __init__(self, fd: int) -> None:
        # What the script starts must not hold the line open.
        os.set_inheritable(fd, False)
        self._file = os.fdopen(fd, "w", encoding="utf-8")

    def send(self, reply: dict[str, Any]) -> None:
        """Sends one reply."""
        self._file.write(json.dumps(reply, allow_nan=False) + "\n")
        self._file.flush()

    def progress(self, done: int, total: int, unit: str, detail: str = "") -> None:
        """Says how far the script is."""
        self.send({"progress": {"done": done, "total": total, "unit": unit, "detail": detail}})


def _peak_mib() -> int:
    """Not ru_maxrss, which begins with that of the process this one was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) >> 10


def _load(path: Path) -> Any:
    # By path, not by importing: the folder of a script of ours must not come before the standard library.
    spec = importlib.util.spec_from_file_location("edgec_script", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _die_with(lifeline: int) -> None:
    """Starts a process that kills this process's group when the other end of the pipe closes, as edgec's end does.

    Not a thread: modules that replace threading (gevent) hang when there is one. Not a child: tools wait for theirs.
    """
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.read(lifeline, 1)
            os.killpg(0, signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(lifeline)


def _be_the_first_to_go() -> None:
    """Asks the kernel to end this process before any other of the machine when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
