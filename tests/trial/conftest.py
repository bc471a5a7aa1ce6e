"""Real servers and real plugins: each is started once per run; a test leaves them as they are."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from dify_case import CHATML, SERVER_KEY, Plugin, plugin_of, served_model
from encoder_models import write_reranker
from parrot import CONTEXT, write_parrot
from proof_models import compile_checkpoint, compile_model
from triton_case import QUICKSTART, built_and_unpacked

from edgec.errors import ToolError
from edgec.events import silent
from edgec.prove.held_out import built_in_text
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, find_toolchain, install
from edgec.trial.llama_server import serving

# Tools as JSON, calls between tags; an answer begins after the last character that the user said.
TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{{ (messages[-1].content or '')[-1:] }}{% endif %}"
)
# What the parrot says after the last letter of what it was asked.
SAYS = {"X": "<tool_call>\n", ">": "", "Y": "naïve漢字🚀"}
# Two tags without a token in common; the server learns them from the template.
THINKS = {"T": "<think>because[done]4"}
THINK_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}[done]{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ messages[-1].content[-1:] }}{% endif %}"
)


@pytest.fixture(scope="session", params=["dify", "dify-next"])
def sdk(request: pytest.FixtureRequest, toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environments of both SDKs."""
    log = tmp_path_factory.mktemp("sdk") / "install.log"
    try:
        return install(find_toolchain(request.param), toolchains_root, offline=False, report=silent, log=log)
    except ToolError as error:
        if "needs Python" in str(error):
            pytest.skip(error.diagnostics[0].message)
        raise


@pytest.fixture(scope="session")
def triton_environment(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain with tritonserver."""
    log = tmp_path_factory.mktemp("triton") / "install.log"
    return install(find_toolchain("triton"), toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's unpacked bundle, for eight clients at once."""
    return built_and_unpacked(QUICKSTART, tmp_path_factory.mktemp("quickstart"), "batch=8", "prove.windows=4")


@pytest.fixture(scope="session")
def docs_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's model as Q4_K_M."""
    return compile_model(tmp_path_factory.mktemp("docs-llama"), "q4_k_m")


@pytest.fixture(scope="session")
def chat(docs_llama: Path) -> Iterator[str]:
    """The quickstart's model on a server without a key."""
    with serving(docs_llama, threads=1, kind="decoder", context=256, log=docs_llama.with_name("chat.log")) as url:
        yield url


@pytest.fixture(scope="session")
def locked_chat(docs_llama: Path) -> Iterator[str]:
    """The same on a server with a key."""
    with serving(
        docs_llama, kind="decoder", context=256, log=docs_llama.with_name("key.log"), api_key=SERVER_KEY
    ) as url:
        yield url


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that calls tools and speaks in many scripts."""
    folder = tmp_path_factory.mktemp("parrot")
    model = write_parrot(folder, SAYS)
    log = folder / "log"
    with serving(model, threads=1, kind="decoder", context=CONTEXT, log=log, chat_template=TOOL_TEMPLATE) as url:
        yield url


@pytest.fixture(scope="session")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that thinks before it answers."""
    folder = tmp_path_factory.mktemp("thinker")
    model = write_parrot(folder, THINKS)
    log = folder / "log"
    with serving(model, threads=1, kind="decoder", context=CONTEXT, log=log, chat_template=THINK_TEMPLATE) as url:
        yield url


@pytest.fixture(scope="session")
def minilm(minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """It on a server."""
    folder = tmp_path_factory.mktemp("minilm")
    model = compile_checkpoint(open_local(minilm_checkpoint), folder / "gguf", "q8_0")
    with serving(model, threads=1, kind="encoder", context=256, log=folder / "log") as url:
        yield url


@pytest.fixture(scope="session")
def reranker_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reranker with random weights."""
    return write_reranker(tmp_path_factory.mktemp("reranker-checkpoint") / "source", built_in_text().splitlines())


@pytest.fixture(scope="session")
def reranker(reranker_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """It on a server."""
    folder = tmp_path_factory.mktemp("reranker")
    model = compile_checkpoint(open_local(reranker_checkpoint), folder / "gguf", "source")
    with serving(model, threads=1, kind="reranker", context=64, log=folder / "log") as url:
        yield url


@pytest.fixture(scope="session")
def llm(sdk: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """The plugin of a language model without tools."""
    model = served_model("decoder", context=256, chat_template=CHATML)
    with plugin_of(sdk.python, tmp_path_factory.mktemp("llm"), model) as plugin:
        yield plugin


@pytest.fixture(scope="session")
def tool_llm(sdk: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """The plugin of a language model with tools."""
    model = served_model("decoder", context=CONTEXT, chat_template=TOOL_TEMPLATE)
    with plugin_of(sdk.python, tmp_path_factory.mktemp("tools"), model) as plugin:
        yield plugin


@pytest.fixture(scope="session")
def embedder(sdk: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """The plugin of an embedding model."""
    with plugin_of(sdk.python, tmp_path_factory.mktemp("embed"), served_model("encoder", context=256)) as plugin:
        yield plugin


@pytest.fixture(scope="session")
def ranker(sdk: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """The plugin of a reranker."""
    with plugin_of(sdk.python, tmp_path_factory.mktemp("rank"), served_model("reranker", context=64)) as plugin:
        yield plugin


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
