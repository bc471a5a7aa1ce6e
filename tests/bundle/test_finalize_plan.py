"""The finalize plan of a bundle: what it may say, and what is refused before a device ever reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgec.bundle.finalize_builds import edgellm_build, trtllm_build
from edgec.bundle.finalize_plan import (
    Backend,
    FinalizePlan,
    Limits,
    ProofPlan,
    Requirements,
    is_plan_path,
    parse_plan,
    plan_path,
    reference_path,
)
from edgec.errors import ProofError

LIMITS = Limits(max_batch=8, max_input=512, max_context=768)


def plan() -> FinalizePlan:
    return FinalizePlan(
        artifact="edgellm-int4_awq",
        backend=Backend(name="edgellm", version="0.11.0"),
        requires=Requirements(arch="aarch64", sm=87, l4t="39.2", tensorrt="10.16"),
        model="edgellm/llm",
        model_at_run_time=False,
        build=edgellm_build("0.11.0", LIMITS, 1000),
        limits=LIMITS,
        proof=ProofPlan(runner="edgellm", reference=reference_path("edgellm-int4_awq")),
    )


def changed(path: str, value: Any) -> bytes:
    document = json.loads(plan().to_bytes())
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    place[last] = value
    return json.dumps(document).encode()


def test_it_comes_back_as_it_was_written() -> None:
    assert parse_plan(plan().to_bytes(), "plan") == plan()
    assert json.loads(plan().to_bytes())["schema"] == "edgec/finalize/v1"


def test_the_command_gets_its_folders_and_nothing_else() -> None:
    arguments = plan().build.arguments(model="/a b/{model}", engine="/e")
    assert arguments[:5] == ["edgellm-onnx-build", "--onnx-dir", "/a b/{model}", "--engine-dir", "/e"]
    assert arguments[5:] == [
        "--max-input-len", "512", "--max-kv-cache-capacity", "768", "--max-batch-size", "8",
    ]  # fmt: skip


def test_an_engine_holds_at_least_half_of_its_weights() -> None:
    for build in (edgellm_build("0.11.0", LIMITS, 1000), trtllm_build("0.12.0", ("x", "{engine}"), 1000, batch=8)):
        assert build.outputs[0].min_bytes == 500


def test_its_path_is_known_by_the_artifact() -> None:
    assert plan_path("a") == "device/a.finalize.json"
    assert is_plan_path("device/a.finalize.json")
    assert not is_plan_path("other/a.finalize.json")
    assert not is_plan_path("device/a.reference.json")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema", "edgec/finalize/v2", "schema"),
        ("surprise", 1, "surprise"),
        ("artifact", "../x", "artifact"),
        ("model", "../../etc", "a part `..`"),
        ("model", "/etc", "absolute"),
        ("proof.reference", "../x", "a part `..`"),
        ("backend.name", "tvm", "backend"),
        ("backend.version", "", "version"),
        ("requires.sm", "87x", "sm"),
        ("requires.l4t", "R39.2", "l4t"),
        ("build.command", [], "command"),
        ("build.command", ["rm", "-rf", "{engine}"], "is no builder of edgellm"),
        ("build.command", ["trtllm-build", "{engine}"], "is no builder of edgellm"),
        ("build.command", ["llm_build", "{model}"], "{engine} is missing"),
        ("build.command", ["llm_build", "{engine}", "{home}"], "may stand in braces"),
        ("build.command", ["llm_build", "{engine}", "{engine.parent}"], "may stand in braces"),
        ("build.command", ["llm_build", "{engine}", "{engine!r}"], "may stand in braces"),
        ("build.command", ["llm_build", "{engine}", "{"], "{"),
        ("build.outputs", [], "outputs"),
        ("build.outputs", [{"path": "../llm.engine", "min_bytes": 1}], "a part `..`"),
        ("build.outputs", [{"path": "llm.engine", "min_bytes": 0}], "min_bytes"),
        ("build.failures", [" "], "stands in every log"),
        ("build.timeout_s", 0, "timeout_s"),
        ("limits.max_batch", 0, "max_batch"),
    ],
)
def test_what_cannot_be_used_is_refused(path: str, value: Any, said: str) -> None:
    with pytest.raises(ProofError) as caught:
        parse_plan(changed(path, value), "bundle: device/a.finalize.json")
    assert said in str(caught.value)
    assert "device/a.finalize.json" in str(caught.value)


def test_the_device_imports_no_compile_package() -> None:
    code = (
        "import sys, edgec.device.finalize, edgec.commands.device\n"
        "heavy = {'numpy', 'numba', 'tokenizers', 'huggingface_hub', 'xllamacpp', 'torch', 'onnx'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    import subprocess  # noqa: PLC0415

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(sys.executable).exists()
