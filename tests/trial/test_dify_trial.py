"""`try_dify`: what it finds in a good package and in bad ones; nothing it starts outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from dify_case import CHATML, KEY, SERVER_KEY, served_model, write_signed

from edgec.deploy.dify.keys import DifySigningKey
from edgec.deploy.dify.package import PluginPackage, read_package, write_package
from edgec.deploy.dify.signature import sign_package, unique_id
from edgec.errors import InputError, ToolError
from edgec.prove.model import Check
from edgec.toolchain.environments import Environment
from edgec.trial.dify import try_dify, unpack
from edgec.trial.dify_process import running

pytestmark = pytest.mark.toolchain


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_signed(tmp_path, served_model("decoder", context=256, chat_template=CHATML))


def changed(package: Path, changes: dict[str, bytes | None]) -> Path:
    """The package with files replaced, or left out when None, and signed again."""
    files = {**dict(read_package(package.read_bytes()).files), **changes}
    kept = PluginPackage.of({name: content for name, content in files.items() if content is not None})
    package.write_bytes(write_package(sign_package(kept, KEY)))
    return package


def failed(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check.passed}


def test_a_good_package_without_a_server(sdk: Environment, package: Path, tmp_path: Path) -> None:
    expected = unique_id(read_package(package.read_bytes()))
    checks = try_dify(package, environment=sdk, keys=[KEY.public], unique_id=expected, logs=tmp_path / "logs")
    assert [check.name for check in checks] == [
        "Dify package signature", "Dify plugin starts", "Dify models declared",
    ]  # fmt: skip
    assert failed(checks) == {}


def test_a_good_package_with_its_server(sdk: Environment, package: Path, locked_chat: str, tmp_path: Path) -> None:
    checks = try_dify(
        package, environment=sdk, keys=[KEY.public], endpoint=locked_chat, api_key=SERVER_KEY, logs=tmp_path
    )
    assert [check.name for check in checks[3:]] == ["Dify credentials accepted", "Dify models answer"]
    assert failed(checks) == {}


@pytest.mark.parametrize("kind", ["encoder", "reranker"])
def test_good_packages_of_other_models(
    sdk: Environment, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("minilm" if kind == "encoder" else "reranker")
    model = served_model("encoder" if kind == "encoder" else "reranker", context=64)
    package = write_signed(tmp_path, model)
    checks = try_dify(package, environment=sdk, keys=[KEY.public], endpoint=url, logs=tmp_path)
    assert len(checks) == 5
    assert failed(checks) == {}


def test_a_server_without_the_key(sdk: Environment, package: Path, locked_chat: str, tmp_path: Path) -> None:
    faults = failed(try_dify(package, environment=sdk, keys=[KEY.public], endpoint=locked_chat, logs=tmp_path))
    assert sorted(faults) == ["Dify credentials accepted", "Dify models answer"]
    assert all("wants an API key" in fault for fault in faults.values())


def test_the_wrong_server(sdk: Environment, package: Path, reranker: str, tmp_path: Path) -> None:
    faults = failed(try_dify(package, environment=sdk, keys=[KEY.public], endpoint=reranker, logs=tmp_path))
    assert sorted(faults) == ["Dify credentials accepted", "Dify models answer"]


def test_a_server_that_takes_no_text_of_the_whole_context(sdk: Environment, reranker: str, tmp_path: Path) -> None:
    """As llama-server without `-ub`: short texts pass, and long ones are refused."""
    package = write_signed(tmp_path, served_model("reranker", context=128))
    faults = failed(try_dify(package, environment=sdk, keys=[KEY.public], endpoint=reranker, logs=tmp_path))
    assert list(faults) == ["Dify models answer"]


def test_signatures(sdk: Environment, package: Path, tmp_path: Path) -> None:
    other = DifySigningKey(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    faults = failed(try_dify(package, environment=sdk, keys=[other.public], logs=tmp_path))
    assert list(faults) == ["Dify package signature"]
    expected = unique_id(read_package(package.read_bytes()))
    renamed = changed(package, {"README.md": None, "sitecustomize.txt": b"x"})
    faults = failed(try_dify(renamed, environment=sdk, keys=[KEY.public], unique_id=expected, logs=tmp_path))
    assert list(faults) == ["Dify package signature"]


def test_a_plugin_that_does_not_start(sdk: Environment, package: Path, tmp_path: Path) -> None:
    broken = changed(package, {"models/llm/llm.py": b"import no_such_module\n"})
    faults = failed(try_dify(broken, environment=sdk, keys=[KEY.public], logs=tmp_path))
    assert list(faults) == ["Dify plugin runs"]
    assert "no_such_module" in faults["Dify plugin runs"]


def test_a_plugin_that_dies_when_it_is_asked(sdk: Environment, package: Path, chat: str, tmp_path: Path) -> None:
    source = dict(read_package(package.read_bytes()).files)["models/llm/llm.py"]
    dying = source.replace(b"        connection = Connection.of(credentials)\n", b"        import os; os._exit(3)\n", 1)
    assert dying != source
    broken = changed(package, {"models/llm/llm.py": dying})
    faults = failed(try_dify(broken, environment=sdk, keys=[KEY.public], endpoint=chat, logs=tmp_path))
    assert "the plugin ended while edgec waited" in faults["Dify plugin runs"]


def test_no_package(sdk: Environment, tmp_path: Path) -> None:
    (tmp_path / "x.difypkg").write_bytes(b"no zip")
    with pytest.raises(InputError, match="not a plugin package"):
        try_dify(tmp_path / "x.difypkg", environment=sdk, keys=[], logs=tmp_path)


def test_a_plugin_that_hangs_is_not_waited_for(sdk: Environment, package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    unpack(read_package(package.read_bytes()), folder)
    (folder / "models/llm/llm.py").write_text((folder / "models/llm/llm.py").read_text() + _SLEEPS)
    with running(sdk.python, folder, provider="small", log=tmp_path / "log") as plugin:
        with pytest.raises(ToolError, match="waited too long for the action"):
            plugin.ask("get_ai_model_schemas", timeout_s=0.5, model="small", model_type="llm", credentials={})
        group = plugin.group
    assert _is_gone(group)


_SLEEPS = """
import time
EdgeLanguageModel.get_model_schema = lambda *arguments: time.sleep(600)
"""


def test_nothing_outlives_a_killed_edgec(sdk: Environment, package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    unpack(read_package(package.read_bytes()), folder)
    program = _HOLDS.format(python=str(sdk.python), folder=str(folder), log=str(tmp_path / "log"))
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder, holder.stdout as output:
        group = int(output.readline())
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert _is_gone(group)


_HOLDS = """
import time
from pathlib import Path
from edgec.trial.dify_process import running
with running(Path({python!r}), Path({folder!r}), provider="small", log=Path({log!r})) as plugin:
    print(plugin.group, flush=True)
    time.sleep(600)
"""


def _is_gone(group: int) -> bool:
    """Whether the group ends soon: the kernel needs a moment for a process that was killed."""
    until = time.monotonic() + 10
    while _lives(group):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _lives(group: int) -> bool:
    """Whether a process of the group runs; the dead ones may wait for process 1 to look."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state not in "ZX":
            return True
    return False
