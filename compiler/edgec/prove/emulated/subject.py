"""Nouns of a proof by emulation: the artifact, where things are kept, and what the two runs found."""

from __future__ import annotations

import json
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
    """An artifact to run twice. `files`: all of it; `kind`: decoder, encoder, reranker, classifier or graph.

    `cpu`: qemu's name of the target's processor; `features`: of the target's processor, as its profile names them;
    `tokenizer`: tokenizer.json, which an ONNX file that takes text needs; `config`: config.json, which one that writes
    text needs too; `inputs`: of one that takes none: see `drawn_inputs`; `context`: tokens that it takes.
    """

    name: str
    format: str
    kind: str
    files: tuple[Path, ...]
    cpu: str
    features: tuple[str, ...]
    tokenizer: bytes | None = None
    config: bytes | None = None
    inputs: tuple[Mapping[str, Any], ...] = ()
    context: int | None = None

    @property
    def head_width(self) -> int | None:
        """Elements of a head of attention, which an empty KV cache has and no graph tells; None: not known."""
        try:
            config = json.loads(self.config or b"")
            return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
            return None

    @property
    def model(self) -> Path:
        """The file that a runtime opens; weights may lie in others beside it."""
        graphs = [path for path in self.files if path.suffix == ".onnx"]
        return (graphs if self.format == "onnx" and graphs else list(self.files))[0]


def drawn_inputs(interface: Mapping[str, Any], image: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    """What must be known to draw inputs, of a manifest's `model.interfaces.<artifact>` and `model.image`."""
    found = []
    for port in interface.get("inputs", ()):
        told = port.get("image", image)
        settings = None if told is None else {name: told[name] for name in ("scale", "mean", "std", "channels_last")}
        found.append({"name": port["name"], "dtype": port["dtype"], "shape": list(port["shape"]), "image": settings})
    return tuple(found)


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
    """What both runs found: `found` is JSON of `compare_rows.py`, with `machine`, `runtime`, `features` (of the
    emulated build of the runtime) and, where the runtime makes the token ids, `different_ids` (texts). `kept`: it was
    found before, and nothing was run."""

    subject: EmulatedSubject
    qemu: str
    found: Mapping[str, Any]
    kept: bool = False

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
