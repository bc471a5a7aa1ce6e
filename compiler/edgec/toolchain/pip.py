"""pip, as the toolchains use it: collect the locked wheels, install exactly those.

Rules: the index is the user's own (pip's configuration and PIP_* variables), none is named here; nothing is built from
source; a torch built for CUDA is refused before it is downloaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ToolError
from edgec.toolchain.definition import Toolchain
from edgec.toolchain.dialogue import run_module
from edgec.toolchain.surroundings import for_pip
from edgec.toolchain.user_wheel import UserWheel

_TIMEOUT_S = 3600.0
_EXACTLY = ("--no-deps", "--only-binary=:all:")
_CUDA_PREFIXES = ("nvidia-", "cuda-")


@dataclass(frozen=True)
class Pip:
    """The pip of a new environment. `kept`: the folder of wheels that earlier installs left."""

    toolchain: Toolchain
    python: Path
    kept: Path
    log: Path
    offline: bool

    def collect(self, wheels: Path) -> Path:
        """Fills the folder `wheels` with the wheels of the lock, and of torch. Raises ToolError."""
        wheels.mkdir()
        if self.toolchain.torch is not None:
            self._refuse_cuda(self._torch, wheels)
            together = [self._torch, *self.toolchain.beside_torch]
            self._pip("download", *_EXACTLY, *self._sources, "--dest", str(wheels), *together)
        locked = ["--require-hashes", "--requirement", str(self.toolchain.lock)]
        self._pip("download", *_EXACTLY, *self._sources, "--dest", str(wheels), *locked)
        return wheels

    def install(self, wheels: Path, own: UserWheel | None = None) -> None:
        """Installs torch and the lock, from the folder `wheels` only, then the user's `own` wheel. Raises ToolError."""
        # Modules are compiled on first use: of most toolchains, few are ever imported.
        options = [*_EXACTLY, "--no-compile", "--no-index", "--find-links", str(wheels)]
        if self.toolchain.torch is not None:
            self._pip("install", *options, self._torch, *self.toolchain.beside_torch)
        self._pip("install", *options, "--require-hashes", "--requirement", str(self.toolchain.lock))
        if own is not None:
            # By hash: the file is the one that was looked at.
            wanted = wheels.with_name("own-wheel.txt")
            wanted.write_text(f"{own.path.as_uri()} --hash={own.digest}\n", encoding="utf-8")
            self._pip("install", *options, "--require-hashes", "--requirement", str(wanted))
        if not self.toolchain.overrides and own is None:
            # pip knows no exceptions; what stands beside them is verified with the rest (`inside/verify.py`).
            self._pip("check")

    def keep(self, wheels: Path) -> None:
        """Moves the wheels to those that are kept for the next install. Raises OSError."""
        self.kept.mkdir(parents=True, exist_ok=True)
        for wheel in sorted(wheels.iterdir()):
            wheel.replace(self.kept / wheel.name)
        wheels.rmdir()

    @property
    def _torch(self) -> str:
        return f"torch=={self.toolchain.torch}"

    @property
    def _sources(self) -> list[str]:
        if not self.offline:
            return []
        return ["--no-index", "--find-links", str(self.kept)]

    def _refuse_cuda(self, requirement: str, folder: Path) -> None:
        """Asks pip which torch it would take. Raises ToolError if that one needs CUDA's libraries."""
        answer = folder / "torch.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(answer)]
        self._pip("install", *_EXACTLY, *self._sources, *options, requirement)
        metadata = json.loads(answer.read_bytes())["install"][0]["metadata"]
        answer.unlink()
        if any(need.startswith(_CUDA_PREFIXES) for need in metadata.get("requires_dist", [])):
            raise ToolError.of(
                f"the torch {metadata['version']} that pip finds is built for CUDA; the toolchain "
                f"`{self.toolchain.name}` needs a CPU build",
                hint="name a place with CPU builds of torch in PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS "
                "(pytorch.org tells which)",
            )

    def _pip(self, *arguments: str) -> None:
        command = ["pip", *arguments]
        try:
            run_module(self.python, command, log=self.log, timeout_s=_TIMEOUT_S, env=for_pip(os.environ), append=True)
        except ToolError as error:
            (found,) = error.diagnostics
            raise ToolError.of(
                f"the toolchain `{self.toolchain.name}` cannot be installed: {found.message}",
                hint=f"{self._advice(arguments)}; {found.hint}",
            ) from error

    def _advice(self, arguments: Sequence[str]) -> str:
        name = self.toolchain.name
        if arguments[0] != "download":
            return f"try `edgec toolchain install {name}` again"
        if self.offline:
            return (
                f"run `edgec toolchain install {name}` once without --offline, or bring the wheels of a machine like "
                f"this one to {self.kept}, or name their folder in PIP_FIND_LINKS"
            )
        return "check the network, the proxy and where pip looks (`python -m pip config list`)"
