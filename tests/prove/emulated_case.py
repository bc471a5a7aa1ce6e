"""What tests of the emulation share: its marks, its bench, and small models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgec.events import silent
from edgec.prove.emulated.run import Answered, Side, compare, emulated_side, native_side, prepared, run_side
from edgec.prove.emulated.subject import Bench, EmulatedSubject
from edgec.toolchain.emulated.make_root import emulated_root
from edgec.toolchain.emulated.qemu import find_qemu
from edgec.toolchain.environments import find_toolchain, install

CPU = "cortex-a76"
_MARKS = [
    pytest.mark.aarch64,
    pytest.mark.toolchain,
    pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="qemu-user-static is not installed"),
]


def emulated(test: Any) -> Any:
    """For tests that run something in qemu."""
    for mark in _MARKS:
        test = mark(test)
    return test


def bench_of(folder: Path, toolchains: Path, *, offline: bool = False) -> Bench:
    """Results and logs of a test's own; the environment and the root are those of all tests."""
    return Bench(toolchains, folder / "results", folder / "logs", offline, silent)


def subject_of(model: Path, kind: str = "decoder", **changes: Any) -> EmulatedSubject:
    """A file as an artifact."""
    told = {"format": "gguf", "cpu": CPU, "features": ("neon", "dotprod"), **changes}
    return EmulatedSubject(name=model.stem, kind=kind, files=(model,), **told)


def sides(bench: Bench, *, timeout_s: float = 600) -> tuple[Side, Side]:
    """This machine and the emulated one."""
    log = bench.logs / "install.log"
    environment = install(find_toolchain("emulation"), bench.toolchains, offline=False, report=silent, log=log)
    qemu = find_qemu()
    root = emulated_root(environment, qemu, offline=False, report=silent, log=bench.logs / "root.log")
    return native_side(environment), emulated_side(qemu, root, CPU, timeout_s)


def compared(bench: Bench, here: EmulatedSubject, there: EmulatedSubject, scratch: Path) -> dict[str, Any]:
    """What the comparison finds when the emulated machine has another file than this one."""
    native, arm = sides(bench)
    answered: list[Answered] = [
        run_side(side, subject, prepared(subject, native, scratch, bench), scratch, bench)
        for side, subject in ((native, here), (arm, there))
    ]
    return dict(compare(native, here.kind, answered, bench))
