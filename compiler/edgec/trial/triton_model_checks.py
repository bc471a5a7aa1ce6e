"""What is tried on every kind of Triton model: what it says of itself, reload, its metrics.

Rule: a check takes the model and its folder in the repository, and returns what it found; a server that gives no
answer is a finding like any other.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgec.deploy.triton.interface import Tensor
from edgec.errors import ToolError
from edgec.prove.model import Check
from edgec.trial.http_client import Reply
from edgec.trial.triton_client import TritonModel
from edgec.trial.verdicts import none_of

Step = Callable[[TritonModel, Path], Check]

_WIRE_TYPES = {"STRING": "BYTES"}
# Whoever runs the checks puts the log's path before it.
SEE_LOG = "build the bundle again if it is not as edgec wrote it"


@contextlib.contextmanager
def attempt(failures: list[str], what: str) -> Iterator[None]:
    """A block whose ToolError is a failure of `what`."""
    try:
        yield
    except ToolError as error:
        failures.append(f"{what}: {error.diagnostics[0].message}")


def metadata_check(model: TritonModel, inputs: Sequence[Tensor], outputs: Sequence[Tensor], batched: bool) -> Check:
    """The tensors that the server names are those that clients rely on."""
    found = model.metadata()
    failures = [
        f"{kind} {name}"
        for kind, promised in (("inputs", inputs), ("outputs", outputs))
        for name in _differences(found[kind], promised, batched)
    ]
    return none_of("tensors as promised", failures, len(inputs) + len(outputs), "different", hint=SEE_LOG)


def _differences(found: Iterable[dict[str, Any]], promised: Sequence[Tensor], batched: bool) -> list[str]:
    served = {t["name"]: (t["datatype"], tuple(t["shape"])) for t in found}
    expected = {
        t.name: (_WIRE_TYPES.get(t.data_type, t.data_type), ((-1,) if batched else ()) + t.dims) for t in promised
    }
    return sorted(name for name in served.keys() | expected.keys() if served.get(name) != expected.get(name))


def refusals_check(model: TritonModel, bad: dict[str, Callable[[], Reply]]) -> Check:
    """Bad requests get an error that says something, and the model goes on."""
    failures: list[str] = []
    for what, ask in bad.items():
        with attempt(failures, what):
            reply = ask()
            # Triton itself calls a text in the place of a number an internal error: 500.
            if reply.is_ok or not reply.json().get("error"):
                failures.append(f"{what}: answered {reply.status}")
            if not model.is_ready():
                failures.append(f"{what}: the model is not ready any more")
    return none_of("bad requests refused", failures, len(bad), "not refused", hint=SEE_LOG)


def metrics_check(model: TritonModel, families: Sequence[str]) -> Check:
    """Counters have moved by now."""
    failures = [f"{family} is 0" for family in families if model.metric(family) == 0]
    return none_of("metrics", failures, len(families), "did not count", hint=SEE_LOG)


def reload_check(model: TritonModel, folder: Path, busy: Callable[[threading.Event, list[str]], None]) -> Check:
    """A new version takes over while requests run.

    `busy` sends requests from a thread of its own until the event, and says what went wrong; the new version is a link
    to the newest one.
    """
    newest = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    (folder / str(newest + 1)).symlink_to(str(newest), target_is_directory=True)
    failures: list[str] = []
    stop = threading.Event()
    client = threading.Thread(target=functools.partial(busy, stop, failures))
    client.start()
    try:
        with attempt(failures, "load"):
            model.load()
    finally:
        stop.set()
        client.join()
    served = model.metadata()["versions"]
    if str(newest + 1) not in served:
        failures.append(f"version {newest + 1} is not served, but {', '.join(served)}")
    if not model.is_ready():
        failures.append("the model is not ready")
    return none_of("a new version while requests run", failures, 1, "failed", hint=SEE_LOG)
