"""The memory a plan announces against the peak of a process that does the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_models import CALIBRATION, write_small

from edgec.quantize.architecture import Decoder, Rope
from edgec.quantize.budget import memory_mib
from edgec.quantize.layout import plan_quantized
from edgec.quantize.settings import Method, QuantizeSettings

_MEASURED = """
import sys
from pathlib import Path
from edgec.events import silent
from edgec.quantize.layout import plan_quantized
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import QuantizeSettings
from edgec.source.local import open_local

source = open_local(Path(sys.argv[1]))
settings = QuantizeSettings(sys.argv[3], group_size=64, max_tokens=2048, sequence_tokens=64)
text = Path(sys.argv[4]).read_text()
quantize_checkpoint(source, plan_quantized(source.header, settings), text, Path(sys.argv[2]), report=silent, action="q")
status = Path("/proc/self/status").read_text().splitlines()
print(int(next(x for x in status if x.startswith("VmHWM")).split()[1]) >> 10)
"""


@pytest.mark.parametrize(
    ("method", "width", "inner"),
    [("rtn", 512, 1024), ("awq", 256, 2048), ("gptq", 128, 3072), ("smoothquant", 256, 1024)],
)
def test_the_peak_stays_below_what_was_planned(tmp_path: Path, method: Method, width: int, inner: int) -> None:
    changes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 2}
    source = write_small(tmp_path / "source", **changes)
    (tmp_path / "out").mkdir()
    (tmp_path / "text").write_text(CALIBRATION)
    command = [sys.executable, "-c", _MEASURED, *map(str, (tmp_path / "source", tmp_path / "out", method))]
    done = subprocess.run([*command, str(tmp_path / "text")], check=True, capture_output=True, text=True)
    peak_mib = int(done.stdout)
    settings = QuantizeSettings(method, group_size=64, max_tokens=2048, sequence_tokens=64)
    planned = plan_quantized(source.header, settings).memory_mib
    assert 50 < peak_mib <= planned


@pytest.mark.parametrize("method", ["rtn", "awq", "gptq", "smoothquant"])
@pytest.mark.parametrize(
    ("width", "inner", "heads", "head_dim"),
    [(2048, 8192, 32, 64), (4096, 14336, 32, 128), (5120, 17408, 40, 128), (8192, 28672, 64, 128)],
)
def test_it_is_at_most_a_layer_and_a_gibibyte(
    method: Method, width: int, inner: int, heads: int, head_dim: int
) -> None:
    decoder = Decoder(32, width, inner, heads, 8, head_dim, 128256, 8192, 1e-5, Rope(5e5), False, False)
    layer = 4 * sum(outputs * inputs for outputs, inputs in decoder.linear_shapes().values())
    assert memory_mib(decoder, QuantizeSettings(method)) <= (layer >> 20) + 1024
