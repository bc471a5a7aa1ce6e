"""Nouns of a proof by emulation: the artifact, where things are kept, and what the two runs found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.events import Reporter
from edgec.prove.model import NotVerified
from edgec.toolchain.emulated.qemu import cpu_title

# Formats whose runtime has a build for 64-bit ARM that runs in qemu.
FORMATS = ("gguf", "onnx")
TOOLCHAIN = "emulation"


@dataclass(frozen=True)
class EmulatedSubject:
    """An artifact to run twice. `files`: all of it, the one to open first; `kind`: decoder, encoder or reranker.

    `cpu`: qemu's name of the target's processor; `features`: of the target's processor, as its profile names them;
    `tokenizer`: tokenizer.json, which an ONNX encoder needs.
    """

    name: str
    format: str
    kind: str
    files: tuple[Path, ...]
    cpu: str
    features: tuple[str, ...]
    tokenizer: bytes | None = None


@dataclass(frozen=True)
class Bench:
    """Where an emulation keeps its things and how it speaks. `results`: the folder of what was found before."""

    toolchains: Path
    results: Path
    logs: Path
    offline: bool
    report: Reporter


@dataclass(frozen=True)
class Emulation:
    """What both runs found: `found` is JSON of `compare_rows.py`, with `different_ids` (texts), `machine`, `runtime`
    and `features` (of the emulated build of the runtime)."""

    subject: EmulatedSubject
    qemu: str
    found: Mapping[str, Any]

    @property
    def label(self) -> str:
        """`emulated Cortex-A76 (qemu 7.2.22)`."""
        return f"emulated {cpu_title(self.subject.cpu)} (qemu {self.qemu})"

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, the same on both sides."""
        return str(self.found["runtime"])

    @property
    def machine(self) -> str:
        """What it was compared with: `x86_64`."""
        return str(self.found["machine"])

    @property
    def gaps(self) -> tuple[NotVerified, ...]:
        """What the emulation cannot have shown, though it passed."""
        told = str(self.found["features"]).upper()
        if self.subject.format == "onnx":
            why = f"the emulation ran {self.runtime}: newer ones, the proof's among them, die under qemu 7.2"
            return (NotVerified(what="the proof's version of onnxruntime on 64-bit ARM", why=why),)
        if "dotprod" in self.subject.features and "DOTPROD = 1" not in told:
            why = (
                f"the emulated build of {self.runtime} has no dot-product instructions, and the target has: "
                "a llama.cpp built for them takes other kernels, which were not run"
            )
            return (NotVerified(what="kernels with dot-product instructions", why=why),)
        return ()
