"""The whole way on the first layer of the real small model: the quantizer, its ranges, the writer, the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import oracle
import pytest
from handmade import MODEL
from packed_models import write_checkpoint
from written import write

from edgec.events import silent
from edgec.formats.trtllm.check import check_against_source
from edgec.formats.trtllm.decode import ACTIVATIONS_FILE, decode_checkpoint
from edgec.quantize.layout import plan_quantized
from edgec.quantize.ranges import kv_ranges
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import Method, QuantizeSettings
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local
from edgec.source.model import Checkpoint

LAYERS = 1


def first_layers(folder: Path) -> Checkpoint:
    """docs-llama, cut after its first layers."""
    source = open_local(MODEL)
    with open_weights(source) as weights:
        tensors = {
            n: (weights.rows(n, 0, t.shape[0]) if len(t.shape) == 2 else weights.vector(n)).astype("float16")
            for n, t in source.header.tensors.items()
            if not n.startswith("model.layers.") or int(n.split(".")[2]) < LAYERS
        }
    texts = {n.replace(".", "__"): (MODEL / n).read_text() for n in ("tokenizer.json", "tokenizer_config.json")}
    return write_checkpoint(folder, tensors, {**source.header.config, "num_hidden_layers": LAYERS}, **texts)


@pytest.mark.parametrize(("method", "scheme"), [("awq", "int4_awq"), ("smoothquant", "int8_sq")])
def test_docs_llama(method: Method, scheme: str, tmp_path: Path) -> None:
    source = first_layers(tmp_path / "source")
    text = (MODEL / "calibration.txt").read_text()
    settings = QuantizeSettings(method, group_size=128, max_tokens=128, sequence_tokens=64)
    folder = tmp_path / "quantized"
    folder.mkdir()
    layout = plan_quantized(source.header, settings)
    quantize_checkpoint(source, layout, text, folder, report=silent, action="test")
    found = kv_ranges(source, text, tmp_path / "ranges", report=silent, action="test", settings=settings)
    quantized = open_local(folder)
    ranges = [(r.key, r.value) for r in found]
    planned = write(quantized, scheme, tmp_path / "out", kv_cache="int8", kv_ranges=ranges)
    with open_weights(quantized) as weights:
        differences = check_against_source(weights, planned, tmp_path / "out")
    assert max(d.relative_rmse for d in differences) < 5e-4
    (tmp_path / "plain").mkdir()
    decode_checkpoint(tmp_path / "out", source.header.config, tmp_path / "plain")
    scales = json.loads((tmp_path / "plain" / ACTIVATIONS_FILE).read_text())["kv_cache"]
    assert [scales[str(r.layer)]["k"] for r in found] == pytest.approx([max(r) / 127 for r in ranges], rel=1e-6)
    decoded = oracle.read_tensors(tmp_path / "plain" / "model.safetensors")
    assert decoded.keys() >= source.header.tensors.keys()
