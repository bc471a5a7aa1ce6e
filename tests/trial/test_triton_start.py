"""start.sh and load.sh of a bundle, run as an operator runs them, on a real tritonserver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from triton_case import GREEDY, NAME, PROMPT

from edgec.toolchain.environments import Environment
from edgec.trial.http_client import HttpClient
from edgec.trial.ports import free_ports
from edgec.trial.triton_server import prepare

pytestmark = pytest.mark.toolchain
KEY = "a key of the operator's"


@contextmanager
def started(
    folder: Path, environment: Environment, log: Path, **settings: str
) -> Iterator[tuple[HttpClient, dict[str, str]]]:
    """The server that start.sh starts, once it is ready, and the variables it was started with."""
    with tempfile.TemporaryDirectory(prefix="edgec-start-") as scratch, log.open("wb") as sink:
        ports = free_ports(3)
        variables = {
            **prepare(environment, Path(scratch)),
            "TRITON_SERVER": str(environment.site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            "TRITON_BACKENDS": str(Path(scratch, "backends")),
            "TRITON_PYTHON": str(environment.python),
            **dict(zip(("TRITON_HTTP_PORT", "TRITON_GRPC_PORT", "TRITON_METRICS_PORT"), map(str, ports), strict=True)),
            **settings,
        }
        child = subprocess.Popen(
            ["sh", str(folder / "triton" / "start.sh"), "--allow-gpu-metrics=false"],
            env=variables, stdout=sink, stderr=sink, start_new_session=True,
        )  # fmt: skip
        try:
            http = HttpClient(ports[0])
            deadline = time.monotonic() + 60
            while not http.is_ok("/v2/health/ready"):
                assert child.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield http, variables
        finally:
            child.terminate()
            child.wait(30)
            with pytest.raises(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def load(folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    """The exit code of load.sh and what it says."""
    script = str(folder / "triton" / "load.sh")
    done = subprocess.run(["sh", script], env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_new_version_comes_by_load_sh_and_never_over_http(
    triton_environment: Environment, quickstart: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(quickstart, folder)
    with started(folder, triton_environment, tmp_path / "log", TRITON_ADMIN_KEY=KEY) as (http, variables):
        versions = folder / "triton" / "models" / NAME
        (versions / "2").symlink_to("1")
        reply = http.post(f"/v2/repository/models/{NAME}/load", {})
        assert (reply.status, http.get(f"/v2/models/{NAME}").json()["versions"]) == (403, ["1"])
        code, said = load(folder, {**variables, "TRITON_ADMIN_KEY": "a wrong one"})
        assert code == 1
        assert "the server does not load it" in said
        assert load(folder, variables) == (0, f"load.sh: {NAME} is loaded\n")
        answer = http.post(f"/v2/models/{NAME}/generate", {"text_input": PROMPT, **GREEDY}).json()
        assert answer["model_version"] == "2"
    code, said = load(folder, variables)
    assert code == 1
    assert "start the server with start.sh" in said
