"""An exporter that dies, hangs, is killed or makes something else: a clear error, the log, and nothing half-written.

The programs are real processes in a real environment; only what runs in it is not Edge-LLM.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgellm_checkpoints import LLAMA, QWEN2, random_tensors, write_checkpoint, write_quantized

from edgec.errors import ToolError
from edgec.events import silent
from edgec.formats.edgellm.export import export_edgellm
from edgec.formats.edgellm.layout import EdgeLlmLayout, plan_edgellm
from edgec.formats.edgellm.staging import stage
from edgec.formats.edgellm.versions import version_for
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.toolchain.environments import Environment, find_toolchain

Fail = Callable[..., str]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """This Python, under the name of the toolchain."""
    toolchain = find_toolchain("edgellm")
    versions = {"tensorrt-edgellm": "0.11.0"}
    folder = tmp_path / "environments" / "edgellm-0"
    folder.mkdir(parents=True)
    return Environment(toolchain, folder, Path(sys.executable), toolchain.lock_digest, versions)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return open_local(write_checkpoint(tmp_path / "checkpoint", LLAMA, random_tensors(LLAMA)))


@pytest.fixture
def layout(checkpoint: Checkpoint) -> EdgeLlmLayout:
    return replace(plan_edgellm(checkpoint.header, "fp16", version_for("7.2")), memory_mib=16)


@pytest.fixture
def fail(environment: Environment, checkpoint: Checkpoint, layout: EdgeLlmLayout, tmp_path: Path) -> Fail:
    """Exports with an exporter of this code, where it must fail; gives what is said. Nothing but the log is left."""

    def run(code: str, **changes: Any) -> str:
        script = tmp_path / "export_onnx.py"
        script.write_text(f"import os, signal, time\nfrom pathlib import Path\ndef run(request, progress):\n{code}")
        out = tmp_path / "out"
        out.mkdir()
        (out / "model.onnx").write_text("of an earlier build")
        planned = replace(layout, **changes)
        with pytest.raises(ToolError) as caught:
            export_edgellm(
                environment, checkpoint, planned, out, report=silent, log=tmp_path / "edgellm.log", script=script
            )
        assert [p.name for p in out.iterdir()] == ["model.onnx"]
        assert (out / "model.onnx").read_text() == "of an earlier build"
        (found,) = caught.value.diagnostics
        return f"{found.message} | {found.hint} | {found.place}"

    return run


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("    os.kill(os.getpid(), signal.SIGKILL)\n", "was killed by SIGKILL"),
        ("    os.abort()\n", "was killed by SIGABRT"),
        ("    raise ValueError('no such model')\n", "no such model"),
        ("    os._exit(0)\n", "ended without a result"),
        ("    return {'versions': {}}\n", "ended, but did not make chat_template.jinja, config.json"),
    ],
)
def test_an_exporter_that_fails_is_named_with_its_log(fail: Fail, tmp_path: Path, code: str, expected: str) -> None:
    message = fail(code)
    assert expected in message
    assert str(tmp_path / "edgellm.log") in message


def test_an_exporter_that_hangs_is_ended(fail: Fail) -> None:
    assert "did not end within 2 s" in fail("    time.sleep(600)\n", timeout_s=2)


def test_what_is_no_model_is_not_taken(fail: Fail, layout: EdgeLlmLayout) -> None:
    code = (
        f"    for name in {[f.name for f in layout.files]!r}:\n"
        "        (Path(request['out']) / name).write_text('{}')\n"
        f"    (Path(request['out']) / 'embedding.safetensors').write_bytes(bytes({320 * 256 * 2 + 88}))\n"
        "    return {}\n"
    )
    assert "cannot be read" in fail(code)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [("more.bin", 1, "also made more.bin"), ("model.onnx.data", 10**7, "has 10000000 bytes")],
)
def test_files_that_were_not_planned_are_not_taken(
    fail: Fail, layout: EdgeLlmLayout, name: str, size: int, expected: str
) -> None:
    sizes = {f.name: f.size_bytes for f in layout.files} | {name: size}
    code = (
        f"    for name, size in {sizes!r}.items():\n"
        "        (Path(request['out']) / name).write_bytes(bytes(size))\n"
        "    return {}\n"
    )
    assert expected in fail(code)


def test_too_little_memory_is_refused_beforehand(fail: Fail, tmp_path: Path) -> None:
    message = fail("    raise SystemExit('ran')\n", memory_mib=10**9)
    assert "the toolchain `edgellm` needs 1000000000 MiB of memory" in message
    assert not (tmp_path / "edgellm.log").exists()


def test_too_little_disk_is_refused_beforehand(fail: Fail) -> None:
    assert "the export needs 953674316406 MiB of disk" in fail("    return {}\n", scratch_bytes=10**18)


def test_another_version_of_the_exporter_is_refused(fail: Fail) -> None:
    message = fail("    return {}\n", version=replace(version_for("7.2"), number="0.12.0"))
    assert "has Edge-LLM 0.11.0, and JetPack 7.2 on the device needs 0.12.0" in message


def test_what_a_killed_export_left_is_removed(
    environment: Environment, checkpoint: Checkpoint, layout: EdgeLlmLayout, tmp_path: Path
) -> None:
    left = tmp_path / "left" / ".exporting" / "made"
    left.mkdir(parents=True)
    (left / "model.onnx").write_text("half")
    script = tmp_path / "export_onnx.py"
    script.write_text(
        "import os\ndef run(request, progress):\n    raise SystemExit(f'there: {os.listdir(request[\"out\"])}')\n"
    )
    with pytest.raises(ToolError, match=r"there: \[\]"):
        export_edgellm(
            environment, checkpoint, layout, tmp_path / "left", report=silent, log=tmp_path / "log", script=script
        )
    assert not list((tmp_path / "left").iterdir())


def test_the_exporter_gets_no_code_of_the_checkpoint(tmp_path: Path) -> None:
    """transformers would run it: the exporter trusts remote code."""
    config = {**LLAMA, "auto_map": {"AutoConfig": "evil.Config"}}
    folder = write_checkpoint(tmp_path / "checkpoint", config, random_tensors(LLAMA))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "auto_map": {"AutoTokenizer": "evil.T"}}))
    checkpoint = open_local(folder)
    stage(checkpoint, plan_edgellm(checkpoint.header, "fp16", version_for("7.2")), tmp_path / "staged")
    assert sorted(p.name for p in (tmp_path / "staged").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "staged" / name).read_text())
    assert (tmp_path / "staged" / "model.safetensors").resolve() == folder / "model.safetensors"


def test_a_checkpoint_in_shards_is_given_with_its_index(tmp_path: Path) -> None:
    tensors = list(random_tensors(LLAMA).items())
    folder = write_checkpoint(tmp_path / "checkpoint", LLAMA, dict(tensors[:9]))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    write_checkpoint(folder, LLAMA, dict(tensors[9:]))
    (folder / "model.safetensors").rename(folder / "model-00002-of-00002.safetensors")
    weight_map = {n: f"model-0000{1 if i < 9 else 2}-of-00002.safetensors" for i, (n, _) in enumerate(tensors)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    checkpoint = open_local(folder)
    stage(checkpoint, plan_edgellm(checkpoint.header, "fp16", version_for("7.2")), tmp_path / "staged")
    index = json.loads((tmp_path / "staged" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == weight_map
    assert {p.name for p in (tmp_path / "staged").glob("*.safetensors")} == set(weight_map.values())


def test_a_tied_int8_checkpoint_says_that_its_output_layer_is_not_quantized(tmp_path: Path) -> None:
    checkpoint = open_local(write_quantized(tmp_path / "checkpoint", QWEN2, random_tensors(QWEN2), "int8_sq"))
    stage(checkpoint, plan_edgellm(checkpoint.header, "int8_sq", version_for("7.2")), tmp_path / "staged")
    settings = json.loads((tmp_path / "staged" / "hf_quant_config.json").read_text())["quantization"]
    assert settings["quant_algo"] == "W8A8_SQ_PER_CHANNEL"
    assert settings["exclude_modules"] == ["lm_head"]
