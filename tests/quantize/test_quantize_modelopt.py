"""modelopt in its toolchain: what it writes is read like our own; what is wrong with it is found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import CALIBRATION, GROUP, write_small

from edgec.errors import InputError, ToolError
from edgec.events import Event, Progress, silent
from edgec.quantize import modelopt
from edgec.quantize.layout import plan_quantized
from edgec.quantize.modelopt import quantize_with_modelopt
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import Method, QuantizeSettings
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, find_toolchain, install
from edgec.toolchain.interpreter import find_interpreter


def without_quantization(out: Path) -> None:
    config = json.loads((out / "config.json").read_text())
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config))
    (out / "hf_quant_config.json").unlink()


def with_nan(out: Path) -> None:
    tensor = open_local(out).header.tensors["model.layers.1.mlp.up_proj.weight_scale"]
    with (out / "model.safetensors").open("r+b") as file:
        file.seek(tensor.offset)
        file.write(np.array(np.nan, np.float32).tobytes())


@pytest.fixture(scope="session")
def environment(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain `modelopt`, installed for real."""
    toolchain = find_toolchain("modelopt")
    try:
        find_interpreter(toolchain, os.environ)
    except ToolError as error:
        pytest.skip(error.diagnostics[0].message)
    log = tmp_path_factory.mktemp("modelopt") / "log"
    return install(toolchain, toolchains_root, offline=False, report=silent, log=log)


def settings(method: Method) -> QuantizeSettings:
    return QuantizeSettings(method, group_size=GROUP, max_tokens=2048, sequence_tokens=64)


@pytest.mark.toolchain
@pytest.mark.heavy("modelopt")
@pytest.mark.parametrize("method", ["awq", "smoothquant"])
def test_it_quantizes(tmp_path: Path, environment: Environment, method: Method) -> None:
    source = write_small(tmp_path / "source", num_hidden_layers=1)
    layout = plan_quantized(source.header, settings(method))
    events: list[Progress] = []

    def report(event: Event, /) -> None:
        if isinstance(event, Progress):
            events.append(event)

    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"of a killed run")
    made = quantize_with_modelopt(
        environment, source, layout, CALIBRATION, out, report=report, action="quantize", log=tmp_path / "log"
    )
    assert sorted(made.files) == sorted(p.name for p in out.iterdir())
    assert "tokenizer.json" in made.files
    assert made.facts["versions"]["nvidia-modelopt"] == "0.47.0"
    assert {e.action for e in events} == {"quantize"}
    with open_weights(open_local(out)) as after, open_weights(source) as before:
        name = "model.layers.0.self_attn.o_proj"
        info = after.linear(name)
        assert (info.bits, info.group_size) == ((4, GROUP) if method == "awq" else (8, None))
        pre = after.vector(f"{name}.pre_quant_scale") if info.has_pre_scale else 1
        values = before.rows(f"{name}.weight", 0, 64)
        error = after.rows(f"{name}.weight", 0, 64) * pre - values
        assert np.linalg.norm(error) / np.linalg.norm(values) < (0.2 if method == "awq" else 0.05)
        assert (after.input_scale(name) is None) == (method == "awq")


def test_methods_that_it_is_not_used_for(tmp_path: Path) -> None:
    source = write_small(tmp_path / "source")
    layout = plan_quantized(source.header, settings("gptq"))
    with pytest.raises(InputError, match="modelopt is not used for gptq"):
        quantize_with_modelopt(
            None,  # type: ignore[arg-type]
            source,
            layout,
            CALIBRATION,
            tmp_path / "out",
            report=silent,
            action="quantize",
            log=tmp_path / "log",
        )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda out: (out / "model.safetensors").write_bytes(b""), "truncated header"),
        (lambda out: (out / "config.json").unlink(), "config.json is missing"),
        (without_quantization, "modelopt ended, but"),
        (with_nan, "is nan"),
    ],
)
def test_what_it_wrote_is_not_believed(tmp_path: Path, damage: Any, said: str) -> None:
    """A result of the layout that modelopt writes (our own), damaged."""
    source = write_small(tmp_path / "source")
    layout = plan_quantized(source.header, settings("smoothquant"))
    out = tmp_path / "out"
    out.mkdir()
    quantize_checkpoint(source, layout, CALIBRATION, out, report=silent, action="quantize")
    assert len(modelopt.checked(source, layout, out, tmp_path / "log")) == 21
    damage(out)
    with pytest.raises(ToolError, match=said) as caught:
        modelopt.checked(source, layout, out, tmp_path / "log")
    assert "read its log" in str(caught.value)
