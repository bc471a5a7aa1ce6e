"""The recipes for Jetson Orin, built whole on small models of the same architectures from a hub on 127.0.0.1: every
stage is the real one, but for the vendor's engine build, which only the device can do.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engine_models
import pytest
from build_shop import Shop, hub_of

from edgec.bundle.finalize_plan import parse_plan
from edgec.prove.device_reference import DeviceReference

RECIPES = Path(__file__).parents[2] / "recipes"
# What of a whole build takes minutes and shows nothing more.
QUICK = ("--set", "prove.windows=4")
FEWER = ("--set", "artifacts[0].quantize.max_tokens=2048")
MODELS: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "orin-llama3": engine_models.llama3,
    "orin-llama3-trtllm": engine_models.llama3,
    "orin-qwen2": engine_models.qwen2,
    "orin-nano-llama32-1b": engine_models.llama32,
}


@pytest.fixture
def orin(request: pytest.FixtureRequest, workshop: Shop) -> Iterator[tuple[Path, Shop]]:
    """A recipe, and a workshop whose hub has a small model under the name and the commit that the recipe has."""
    path = RECIPES / f"{request.param}.yaml"
    with hub_of(workshop, path, MODELS[request.param](workshop.folder)) as shop:
        yield path, shop


def unpacked(shop: Shop, bundle: str) -> Path:
    """The verified files of a bundle."""
    done = shop.run("unpack", bundle, shop.folder / "model")
    assert done.code == 0, done.last
    return shop.folder / "model"


def checks(built: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The checks of the one proof, by name."""
    (proof,) = built["proofs"]
    return {check["name"]: check for check in proof["checks"]}


def commands_for_the_device(shop: Shop, recipe: Path, *sets: str) -> list[str]:
    """What the text of a build says to run on the device."""
    command = [sys.executable, "-m", "edgec", "build", str(recipe), *sets]
    done = subprocess.run(command, cwd=shop.folder, env=shop.env, capture_output=True, text=True, check=True)
    said, _, commands = done.stdout.partition("there:\n")
    assert "/edgec/keys/development.pub" in said.splitlines()[-1]
    return [line.strip() for line in commands.splitlines()]


def finalizes_as_printed(shop: Shop, command: str, bundle: str) -> None:
    """Runs it where only the bundle and the key are: both are accepted, and this machine is not the device."""
    device = shop.folder / "device"
    shutil.copytree(shop.folder / bundle, device / Path(bundle).name)
    shutil.copy(shop.folder / "config" / "edgec" / "keys" / "development.pub", device)
    own = {"XDG_CONFIG_HOME": str(device / "config"), "XDG_STATE_HOME": str(device / "state")}
    arguments = [sys.executable, "-m", *shlex.split(command), "--json"]
    done = subprocess.run(arguments, cwd=device, env={**shop.env, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout
    assert "sm_87" in done.stdout


@pytest.mark.toolchain
@pytest.mark.heavy("edgellm", "transformers")
@pytest.mark.parametrize("orin", ["orin-llama3"], indirect=True)
def test_llama3_by_edge_llm(orin: tuple[Path, Shop]) -> None:
    recipe, shop = orin
    built = shop.run("build", recipe, *QUICK, *FEWER)
    assert built.code == 0, built.last
    folder = unpacked(shop, built.last["bundle"])
    config = json.loads((folder / "edgellm" / "config.json").read_bytes())
    assert config["edgellm_version"] == "0.11.0"
    assert (folder / "edgellm" / "model.onnx.data").stat().st_size > 2 << 20
    plan = parse_plan((folder / "device" / "edgellm-int4_awq.finalize.json").read_bytes(), "plan")
    assert (plan.requires.sm, plan.requires.l4t, plan.requires.jetpack) == (87, "39.2", "7.2")
    assert plan.limits.max_context == 4096
    reference = DeviceReference.model_validate_json((folder / plan.proof.reference).read_bytes())
    assert all(len(prompt.token_ids) > 0 for prompt in reference.prompts)
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    assert {"tensorrt-edgellm", "toolchain edgellm", "toolchain transformers", "torch"} <= manifest["tools"].keys()
    assert any(n["what"].startswith("engine build") for n in manifest["not_verified"])
    found = checks(built.last)
    assert found["KL divergence"]["measured"] < 0.02
    assert found["tensor errors"]["passed"]

    again = shop.run("build", recipe, *QUICK, *FEWER)
    assert again.last["cached"] is True
    assert again.last["wall_s"] < 1
    (command,) = commands_for_the_device(shop, recipe, *QUICK, *FEWER)
    finalizes_as_printed(shop, command, built.last["bundle"])
    for trial in ("triton", "dify"):
        tried = shop.run("verify", built.last["bundle"], "--run", trial)
        assert tried.code == 2
        assert "first artifact is `edgellm` has none" in tried.last["diagnostics"][0]["hint"]


@pytest.mark.toolchain
@pytest.mark.heavy("edgellm", "transformers")
@pytest.mark.parametrize("orin", ["orin-llama3-trtllm"], indirect=True)
def test_llama3_by_tensorrt_llm(orin: tuple[Path, Shop]) -> None:
    recipe, shop = orin
    built = shop.run("build", recipe, *QUICK)
    assert built.code == 0, built.last
    folder = unpacked(shop, built.last["bundle"])
    config = json.loads((folder / "trtllm" / "config.json").read_bytes())
    assert config["quantization"]["quant_algo"] == "W8A16"
    plan = parse_plan((folder / "device" / "trtllm-int8_wo.finalize.json").read_bytes(), "plan")
    command = " ".join(plan.build.command)
    assert "--max_batch_size 8 --max_input_len 512 --max_seq_len 768" in command
    assert plan.requires.jetpack == "6.1"
    ensemble = (folder / "triton" / "models" / "tensorrt_llm" / "config.pbtxt").read_text()
    assert "/var/lib/edgec/engines/llama-3-8b-instruct-trtllm/trtllm-int8_wo/current/engine" in ensemble
    assert 0 < checks(built.last)["KL divergence"]["measured"] < 0.001
    shell = commands_for_the_device(shop, recipe, *QUICK)
    assert shell[0] == 'sudo install -d -o "$USER" /var/lib/edgec'
    assert shell[1].startswith("XDG_STATE_HOME=/var/lib edgec device finalize ")
    finalizes_as_printed(shop, shell[1].removeprefix("XDG_STATE_HOME=/var/lib "), built.last["bundle"])
    tried = shop.run("verify", built.last["bundle"], "--run", "triton")
    assert tried.code == 2
    assert "its engine is built on the device" in tried.last["diagnostics"][0]["message"]


@pytest.mark.toolchain
@pytest.mark.heavy("edgellm", "transformers")
@pytest.mark.parametrize("orin", ["orin-qwen2"], indirect=True)
def test_qwen2_by_edge_llm(orin: tuple[Path, Shop]) -> None:
    recipe, shop = orin
    built = shop.run("build", recipe, *QUICK, *FEWER)
    assert built.code == 0, built.last
    assert checks(built.last)["KL divergence"]["measured"] < 0.02


@pytest.mark.toolchain
@pytest.mark.heavy("edgellm", "transformers")
@pytest.mark.parametrize("orin", ["orin-nano-llama32-1b"], indirect=True)
def test_llama32_in_int8_by_edge_llm(orin: tuple[Path, Shop]) -> None:
    recipe, shop = orin
    # All of the calibration text: the scales of the inputs are as large as the largest it shows.
    built = shop.run("build", recipe, *QUICK)
    assert built.code == 0, built.last
    assert checks(built.last)["KL divergence"]["measured"] < 0.02


@pytest.mark.parametrize("orin", list(MODELS), indirect=True)
def test_recipes_plan_from_headers(orin: tuple[Path, Shop]) -> None:
    recipe, shop = orin
    planned = shop.run("plan", recipe)
    assert planned.code == 0, planned.last
    (artifact,) = planned.last["artifacts"]
    (speed,) = artifact["speeds"]
    assert artifact["fit"]["verdict"] == "fits"
    assert 0 < speed["low_tok_s"] < speed["high_tok_s"]
    assert speed["provenance"]


@pytest.mark.parametrize("orin", ["orin-llama3"], indirect=True)
@pytest.mark.parametrize("scheme", ["fp8", "nvfp4"])
def test_what_orin_has_no_units_for_is_refused(orin: tuple[Path, Shop], scheme: str) -> None:
    recipe, shop = orin
    refused = shop.run("build", recipe, "--set", f"artifacts[0].quantize.scheme={scheme}")
    assert refused.code == 2
    (mistake,) = [d for d in refused.last["diagnostics"] if scheme.upper() in d["message"]]
    assert "use int4_awq" in mistake["message"]
