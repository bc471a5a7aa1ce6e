"""Time to first token and tokens per second through the Dify plugin's process, against the server itself.

Both stream from one llama.cpp server on the quickstart's GGUF, in turns, with the same prompts. The plugin's CPU time
per token is what it costs whatever else the machine does. Run it after `edgec build recipes/quickstart.yaml` and
`edgec toolchain install dify`:

    python benchmarks/dify/run.py BUNDLE [--toolchain dify-next] [--runs 20] [--output FILE]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgec.deploy.dify.emit import emit
from edgec.deploy.dify.package import read_package
from edgec.deploy.model import Device, ServedModel
from edgec.errors import InputError
from edgec.recipe.package import DifyPackage
from edgec.store.paths import cache_home
from edgec.toolchain.environments import Environment, find_toolchain, installed
from edgec.trial.dify import unpack
from edgec.trial.dify_process import PluginProcess, running
from edgec.trial.llama_server import serving

_CONTEXT, _TOKENS, _MODEL = 256, 128, "docs-llama"
_TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclass(frozen=True)
class Timed:
    """One answer: until its first text, and its tokens per second from the request to the end."""

    first_s: float
    tokens_per_s: float
    tokens: int


def main() -> None:
    """Measures, prints a table and writes the raw numbers."""
    arguments = _arguments()
    environment = installed(find_toolchain(arguments.toolchain), cache_home() / "toolchains")
    if environment is None:
        raise InputError.of(f"the toolchain {arguments.toolchain} is missing", hint="edgec toolchain install it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            serving(_model(arguments.bundle), kind="decoder", context=_CONTEXT, log=folder / "server.log") as url,
            _plugin(environment, folder) as plugin,
        ):
            _measure(url, plugin, 2)  # imports and first connections
            cpu_s = _cpu_s(plugin.group)
            timed = _measure(url, plugin, arguments.runs)
            cpu_s = _cpu_s(plugin.group) - cpu_s
    result = {
        "sdk": environment.versions["dify-plugin"],
        "xllamacpp": version("xllamacpp"),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "runs": arguments.runs,
        "new_tokens": _TOKENS,
        "plugin_cpu_ms_per_token": cpu_s * 1000 / sum(answer.tokens for answer in timed["plugin"]),
        "ways": {way: _summary(answers) for way, answers in timed.items()},
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="the quickstart's bundle, unpacked, or its GGUF")
    parser.add_argument("--toolchain", default="dify", choices=["dify", "dify-next"])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def _model(bundle: Path) -> Path:
    return bundle if bundle.is_file() else next(bundle.glob("gguf/*.gguf"))


def _plugin(environment: Environment, folder: Path) -> Any:
    model = ServedModel(
        name=_MODEL, version="1.0.0", title=_MODEL, description=None, licence=None, kind="decoder", format="gguf",
        scheme="q4_k_m", weights="", files=("gguf/model.gguf",), architecture="llama", parameters=1,
        context=_CONTEXT, batch=1, embedding_length=1, pooling=None, chat_template=_TEMPLATE, special_texts={},
        device=Device("pi5-8gb", "Raspberry Pi 5", "aarch64", 4, 8000.0, 10.0),
    )  # fmt: skip
    (data,) = emit(DifyPackage(author="acme"), model, Path).files.values()
    unpack(read_package(data), folder / "plugin")
    return running(environment.python, folder / "plugin", provider=_MODEL, log=folder / "plugin.log")


def _measure(url: str, plugin: PluginProcess, runs: int) -> dict[str, list[Timed]]:
    ways = {"server": lambda prompt: _direct(url, prompt), "plugin": lambda prompt: _through(plugin, url, prompt)}
    timed: dict[str, list[Timed]] = {way: [] for way in ways}
    for run in range(runs):
        # In turns, and each way first in half of the runs; the prompt differs, so that no cache holds it.
        for number, (way, ask) in enumerate(sorted(ways.items(), reverse=bool(run % 2))):
            timed[way].append(_timed(ask(f"{run}{number} How do I open a file and read its lines?")))
    return timed


def _timed(answer: Iterator[tuple[str, int]]) -> Timed:
    """`answer`: texts as they come; the last one brings the number of tokens."""
    begun, first, tokens = time.perf_counter(), 0.0, 0
    for text, counted in answer:
        if text and not first:
            first = time.perf_counter()
        tokens = counted or tokens
    return Timed(first - begun, tokens / (time.perf_counter() - begun), tokens)


def _direct(url: str, prompt: str) -> Iterator[tuple[str, int]]:
    body = {
        "messages": [{"role": "user", "content": prompt}], "max_tokens": _TOKENS, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            event = json.loads(line.removeprefix(b"data: "))
            text = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
            yield text, (event.get("usage") or {}).get("completion_tokens", 0)
    connection.close()


def _through(plugin: PluginProcess, url: str, prompt: str) -> Iterator[tuple[str, int]]:
    chunks = plugin.call(
        "invoke_llm", model=_MODEL, model_type="llm", credentials={"endpoint_url": url}, stop=None, tools=None,
        prompt_messages=[{"role": "user", "content": prompt}], stream=True,
        model_parameters={"max_tokens": _TOKENS, "temperature": 0},
    )  # fmt: skip
    for chunk in chunks:
        yield chunk["delta"]["message"]["content"], (chunk["delta"]["usage"] or {}).get("completion_tokens", 0)


def _cpu_s(group: int) -> float:
    """CPU time of a process group's processes."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _summary(answers: list[Timed]) -> dict[str, Any]:
    first = [answer.first_s * 1000 for answer in answers]
    speed = [answer.tokens_per_s for answer in answers]
    return {
        "first_token_ms": {"median": statistics.median(first), "all": first},
        "tokens_per_s": {"median": statistics.median(speed), "all": speed},
    }


if __name__ == "__main__":
    main()
