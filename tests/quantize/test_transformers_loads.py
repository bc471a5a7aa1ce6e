"""transformers itself loads our AWQ and GPTQ checkpoints, where gptqmodel (and optimum) are installed, on a CPU.

They are no part of the `reference` extra: gptqmodel is compiled for the torch that is there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import CALIBRATION, write_small

from edgec.events import silent
from edgec.quantize.layout import plan_quantized
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import Method, QuantizeSettings
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gptqmodel")
pytestmark = [pytest.mark.reference, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_it_computes_what_the_dequantized_weights_do(tmp_path: Path, method: Method) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 256}
    source = write_small(tmp_path / "source", "Qwen2ForCausalLM", **sizes)
    settings = QuantizeSettings(method, 128, max_tokens=2048, sequence_tokens=64)
    (tmp_path / "out").mkdir()
    layout = plan_quantized(source.header, settings)
    quantize_checkpoint(source, layout, CALIBRATION, tmp_path / "out", report=silent, action="quantize")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source", dtype=torch.float32).eval()
    with open_weights(open_local(tmp_path / "out")) as weights, torch.no_grad():
        for name, values in plain.named_parameters():
            rows = weights.rows(name, 0, len(values)) if values.dim() == 2 else weights.vector(name)
            values.copy_(torch.from_numpy(np.ascontiguousarray(rows)))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", device_map="cpu").eval()
    assert "gptqmodel" in type(loaded.model.layers[0].mlp.up_proj).__module__
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, 4096, (2, 32)))
    with torch.no_grad():
        expected, found = plain(ids).logits, loaded(ids).logits.float()
    # Its kernels compute in half precision, which random weights, all of them loud, show.
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.999
