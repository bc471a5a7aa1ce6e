"""What start.sh refuses before it starts a server, and the order in which it gives its arguments; no Triton needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgec.deploy.triton.model_config import ModelConfig
from edgec.deploy.triton.start import EngineCheck, start_script
from edgec.recipe.package import TritonPorts

# In the place of tritonserver: says how it was started.
SERVER = '#!/bin/sh\nulimit -s\nfor one; do printf "%s\\n" "$one"; done\n'
# In the place of Python with its packages: any version, imports everything.
PYTHON = "#!/bin/sh\ncase $2 in *version_info*) echo 3.11 ;; esac\n"


ENGINE = EngineCheck("engine/config.pbtxt", ("config.json", "rank0.engine"), "make it: edgec device finalize BUNDLE")


def run(folder: Path, name: str = "bundle", engine: EngineCheck | None = None, **settings: str) -> tuple[int, str]:
    """The exit code of start.sh in `folder/name`, and what it and the server say."""
    bundle, backends, programs = folder / name, folder / "backends", folder / "programs"
    for made in (bundle / "models", backends / "python", programs):
        made.mkdir(parents=True, exist_ok=True)
    for program, text in (("tritonserver", SERVER), ("python3", PYTHON)):
        (programs / program).write_text(text, encoding="utf-8")
        (programs / program).chmod(0o755)
    model = ModelConfig(name="m", backend="python", inputs=(), outputs=())
    script = start_script((model,), ports=TritonPorts(), memory_mib=4000, packages=(("x", "x==1"),), engine=engine)
    (bundle / "start.sh").write_bytes(script)
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "TRITON_BACKENDS": str(backends), **settings}
    command = ["sh", str(bundle / "start.sh")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=20)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["my bundle", "a;b", "a&b", "a$b", "a(b)", "a'b", 'a"b', "a`b", "a*b", "a\tb", "a\\b"])
def test_a_path_that_the_python_backend_waits_for_is_refused(tmp_path: Path, name: str) -> None:
    code, said = run(tmp_path, name)
    assert code == 1
    assert "has a space or a sign of the shell in it" in said


@pytest.mark.parametrize("value", ["", "lots", "12MB", "-5", "1.5", "4 000", "100", "99999999999999999999"])
def test_a_memory_limit_that_cannot_work_is_refused(tmp_path: Path, value: str) -> None:
    code, said = run(tmp_path, TRITON_MEMORY_MIB=value or " ")
    assert code == 1
    assert "TRITON_MEMORY_MIB" in said


def test_a_plain_path_is_served_with_all_operators_apis_closed(tmp_path: Path) -> None:
    code, said = run(tmp_path, "bündel-1.0_x,y", TRITON_ADMIN_KEY="secret")
    assert code == 0, said
    lines = said.splitlines()
    assert "--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:admin-key=secret" in lines
    assert any(
        line.startswith("--http-restricted-api=model-repository,shared-memory,trace,logging:closed=") for line in lines
    )
    assert lines[0] in ("16384", "65536")


def test_an_engine_that_is_missing_is_said_with_the_way_to_make_it(tmp_path: Path) -> None:
    engine, config = tmp_path / "engine", tmp_path / "bundle" / "models" / "engine" / "config.pbtxt"
    config.parent.mkdir(parents=True)
    value = f'parameters {{ key: "gpt_model_path" value {{ string_value: "{engine}" }} }}'
    config.write_text(f'name: "engine"\n{value}\n', encoding="utf-8")
    engine.mkdir()
    for made in ENGINE.files:
        code, said = run(tmp_path, engine=ENGINE)
        assert code == 1
        assert f"start.sh: no engine: {engine}/{made} is not there" in said
        assert "start.sh: make it: edgec device finalize BUNDLE" in said
        (engine / made).touch()
    code, said = run(tmp_path, engine=ENGINE)
    assert code == 0, said
