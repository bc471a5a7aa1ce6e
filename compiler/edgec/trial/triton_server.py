"""A real tritonserver from a toolchain's environment, on free ports of 127.0.0.1, for as long as a `with` block.

Rule: whatever happens, edgec's death included, nothing of it lives on: no process, no port, no shared memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ToolError
from edgec.store.atomic import explained
from edgec.toolchain.dialogue import lifeline, program_arguments
from edgec.toolchain.environment import Environment, in_use
from edgec.toolchain.process import run_tool
from edgec.toolchain.surroundings import for_tool
from edgec.trial.http_client import HttpClient
from edgec.trial.ports import free_ports
from edgec.trial.shared_memory import region_prefix

# Another program may take a port between our choice and Triton's bind.
_ATTEMPTS = 3
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05
_TAIL_LINES = 20
_PLAIN = re.compile(r"[\w./+,:@%=-]+")
# Triton reads a request's body on the stack of a thread: with the usual 8 MiB, a body of 8 MB ends it.
_WITH_STACK = ("sh", "-c", 'ulimit -s 65536 2>/dev/null; exec "$@"', "sh")
_ASK_PYTHON = (
    "import json, sysconfig as s;"
    "v = s.get_config_vars();"
    "print(json.dumps([v['LIBDIR'], v.get('MULTIARCH') or '', v.get('INSTSONAME') or '', s.get_python_version()]))"
)


@dataclass(frozen=True)
class TritonServer:
    """A running server. `process_id` is that of tritonserver; `ready_s`: what it took from start to ready."""

    environment: Environment
    http: HttpClient
    metrics: HttpClient
    grpc_port: int
    process_id: int
    log: Path
    ready_s: float


@contextlib.contextmanager
def triton_server(
    environment: Environment,
    repository: Path,
    *,
    models: Sequence[str],
    log: Path,
    timeout_s: float = 120.0,
    options: Sequence[str] = (),
) -> Iterator[TritonServer]:
    """Serves the `models` of a model repository; the block runs when all are ready.

    `options`: more options of tritonserver. Raises ToolError, with the end of the log: no server in the environment,
    no libpython, a model that does not load, not ready within `timeout_s`.
    """
    with in_use(environment), tempfile.TemporaryDirectory(prefix="edgec-triton-", dir=_plain_folder()) as scratch:
        folder = Path(scratch)
        variables = prepare(environment, folder)
        # Whatever is in the repository's own path, the server sees a plain one.
        (folder / "models").symlink_to(repository.resolve(), target_is_directory=True)
        with contextlib.ExitStack() as stack:
            for attempt in range(_ATTEMPTS):
                start = _Start(environment, folder, folder / "models", models, log, options, variables)
                try:
                    server = stack.enter_context(start.running(timeout_s))
                    break
                except _PortTakenError:
                    if attempt == _ATTEMPTS - 1:
                        raise
            yield server


def prepare(environment: Environment, folder: Path) -> dict[str, str]:
    """Puts the folder `backends` into `folder`, and returns the environment variables that tritonserver needs.

    Raises ToolError: no server in the environment, no libpython.
    """
    variables = _variables(environment, _libpython_folder(environment, folder / "python.log"))
    _assemble(environment, folder)
    return variables


def _plain_folder() -> str:
    """The folder for temporary files, or /tmp where its path is not plain.

    The python backend hands paths to a shell without quotes, and then waits for ever.
    """
    folder = tempfile.gettempdir()
    return folder if _PLAIN.fullmatch(folder) else "/tmp"  # noqa: S108 - the folder in it gets a name of its own


class NotServedError(ToolError):
    """The server runs here, but does not serve what it was told to."""


class _PortTakenError(ToolError):
    """Another program was quicker."""


@dataclass(frozen=True)
class _Start:
    """One start of the server."""

    environment: Environment
    folder: Path
    repository: Path
    models: Sequence[str]
    log: Path
    options: Sequence[str]
    variables: Mapping[str, str]

    @contextlib.contextmanager
    def running(self, timeout_s: float) -> Iterator[TritonServer]:
        """The server, ready."""
        ports = free_ports(3)
        began = time.monotonic()
        with explained(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            sink = self.log.open("wb")
        with sink, region_prefix() as shared_memory, lifeline() as line:
            child = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                [*_WITH_STACK, *program_arguments(self.environment.python, self._arguments(ports, shared_memory))],
                stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, pass_fds=(line,), cwd=self.folder,
                env={**self.variables, "EDGEC_LIFELINE_FD": str(line)}, start_new_session=True,
            )  # fmt: skip
            try:
                http, metrics = HttpClient(ports[0]), HttpClient(ports[2])
                self._wait_until_ready(child, http, began + timeout_s)
                ready_s = time.monotonic() - began
                yield TritonServer(self.environment, http, metrics, ports[1], child.pid, self.log, ready_s)
            finally:
                _stop(child)

    def _arguments(self, ports: Sequence[int], shared_memory: str) -> list[str]:
        return [
            str(_served_from(self.environment) / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.folder / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self.models),
            *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
            f"--http-port={ports[0]}",
            f"--grpc-port={ports[1]}",
            f"--metrics-port={ports[2]}",
            "--allow-gpu-metrics=false",
            "--log-verbose=0",
            "--exit-timeout-secs=10",
            *self.options,
        ]

    def _wait_until_ready(self, child: subprocess.Popen[bytes], http: HttpClient, deadline: float) -> None:
        while not http.is_ok("/v2/health/ready"):
            if child.poll() is not None:
                tail = _tail(self.log)
                error = _PortTakenError if "ddress already in use" in tail else NotServedError
                raise error.of(f"tritonserver ended with {child.returncode}{tail}", hint=f"the log is {self.log}")
            if time.monotonic() > deadline:
                raise ToolError.of(
                    f"tritonserver was not ready in time{_tail(self.log)}", hint=f"the log is {self.log}"
                )
            time.sleep(_POLL_S)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends the server: first itself, which ends its models and frees what they share; then what is left by force."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.terminate()
        child.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _assemble(environment: Environment, folder: Path) -> None:
    """The folder of backends: Triton looks for the python backend's helper of this Python's version beside it."""
    source = _served_from(environment)
    stub = source / "python_backend_stubs" / _python_version(environment) / "triton_python_backend_stub"
    for needed in (source / "bin" / "tritonserver", stub):
        if not needed.is_file():
            raise ToolError.of(f"{needed} is missing", hint="remove the toolchain and install it again")
    with explained(folder):
        backend = folder / "backends" / "python"
        shutil.copytree(source / "backends" / "python", backend, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(stub, backend)


def _served_from(environment: Environment) -> Path:
    return environment.site_packages / "pytriton" / "tritonserver"


def _python_version(environment: Environment) -> str:
    return environment.site_packages.parent.name.removeprefix("python")


def _variables(environment: Environment, libpython: Path) -> dict[str, str]:
    libraries = (str(libpython), str(environment.site_packages / "nvidia_pytriton.libs"))
    return {
        # Python inside Triton finds the environment as the first `python3` on PATH.
        **for_tool(os.environ, str(environment.python.parent)),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
    }


def _libpython_folder(environment: Environment, log: Path) -> Path:
    """Where the shared library of the environment's Python stands. Raises ToolError when it has none."""
    arguments = [str(environment.python), "-I", "-c", _ASK_PYTHON]
    reply = run_tool(arguments, log=log, timeout_s=60.0, env=for_tool(os.environ, str(environment.python.parent)))
    folder, triplet, library, version = json.loads(reply.splitlines()[-1])
    # A Python linked without it names a static library here; Debian packs the shared one apart.
    names = {library, f"libpython{version}.so.1.0"}
    for place in (Path(folder), Path(folder, triplet), Path("/usr/lib", triplet)):
        if any(name.endswith(".so.1.0") and (place / name).is_file() for name in names):
            return place
    raise ToolError.of(
        f"Triton needs libpython{version}.so.1.0, and {environment.python} comes without it",
        hint=f"install it (Debian: libpython{version}), or name a Python built with --enable-shared in "
        f"EDGEC_PYTHON_{version.replace('.', '_')} and install the toolchain again",
    )


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return "".join(f"\n  | {line}" for line in lines)
