"""One model of a running tritonserver, as a client over HTTP sees it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.toolchain.environments import run_json
from edgec.trial.http_client import Reply
from edgec.trial.triton_server import TritonServer

_LOAD = Path(__file__).parent / "inside" / "triton_load.py"
_START_PYTHON_S = 30.0


@dataclass(frozen=True)
class Streamed:
    """A streamed answer. `pieces`: the texts of all responses; `arrivals_s`: when each came, from the request on.

    `last`: the last response, which has the finish reason and the counts.
    """

    pieces: tuple[str, ...]
    arrivals_s: tuple[float, ...]
    last: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def spread_s(self) -> float:
        """From the first piece to the last."""
        return self.arrivals_s[-1] - self.arrivals_s[0]


@dataclass(frozen=True)
class TritonModel:
    """The model `name` of `server`. Methods raise ToolError when the server gives no answer."""

    server: TritonServer
    name: str

    @property
    def _path(self) -> str:
        return f"/v2/models/{self.name}"

    def metadata(self) -> dict[str, Any]:
        """Names, types and shapes of its tensors, and the versions that are served."""
        return self.server.http.get(self._path).json()

    def parameters(self) -> dict[str, str]:
        """`parameters` of its configuration."""
        config = self.server.http.get(f"{self._path}/config").json()
        return {key: value["string_value"] for key, value in config.get("parameters", {}).items()}

    def is_ready(self) -> bool:
        """Whether it takes requests."""
        return self.server.http.is_ok(f"{self._path}/ready")

    def generate(self, **inputs: Any) -> Reply:
        """One answer as a whole."""
        return self.server.http.post(f"{self._path}/generate", inputs)

    def infer(self, tensors: Sequence[Mapping[str, Any]]) -> Reply:
        """Inference over tensors: `name`, `datatype`, `shape`, `data`."""
        return self.server.http.post(f"{self._path}/infer", {"inputs": list(tensors)})

    @contextlib.contextmanager
    def events(self, **inputs: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """A streamed answer's responses as they come; leaving the block is leaving the server."""
        with self.server.http.events(f"{self._path}/generate_stream", {**inputs, "stream": True}) as events:
            yield events

    def stream(self, **inputs: Any) -> Streamed:
        """A streamed answer to its end. Raises ToolError for one that is an error, or has no end."""
        began = time.monotonic()
        pieces: list[str] = []
        arrivals: list[float] = []
        last: dict[str, Any] = {}
        with self.events(**inputs) as events:
            for last in events:
                if "error" in last:
                    raise ToolError.of(f"Triton streams an error: {last['error']}")
                pieces.append(last["text_output"])
                arrivals.append(time.monotonic() - began)
        if not last.get("finish_reason"):
            raise ToolError.of(f"the stream ended after {len(pieces)} responses without a finish reason")
        return Streamed(tuple(pieces), tuple(arrivals), last)

    def load(self, timeout_s: float = 120.0) -> None:
        """Loads it again from the repository, with the versions that stand there now. Raises ToolError."""
        asked = {"port": self.server.grpc_port, "model": self.name, "timeout_s": timeout_s}
        log = self.server.log.with_name("triton-load.log")
        reply = run_json(
            self.server.environment, _LOAD, asked, timeout_s=timeout_s + _START_PYTHON_S, log=log, memory_mib=64
        )
        if reply["error"] is not None:
            raise ToolError.of(f"Triton does not load {self.name}: {reply['error']}", hint=f"see {self.server.log}")

    def metric(self, family: str) -> float:
        """The sum of a metric over the model's versions; 0 when it has none."""
        lines = self.server.metrics.get("/metrics").body.decode().splitlines()
        mark = f'model="{self.name}"'
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{family}{{") and mark in line)
