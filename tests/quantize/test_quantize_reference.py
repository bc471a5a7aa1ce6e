"""Against transformers: what a layer computes, what our layouts mean, how large keys and values get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import CALIBRATION, FAMILIES, GROUP, write_small

from edgec.events import silent
from edgec.quantize.architecture import plan_decoder
from edgec.quantize.calibration import calibration_windows
from edgec.quantize.decoder_layer import DecoderLayer
from edgec.quantize.forward import rms_norm
from edgec.quantize.layout import plan_quantized
from edgec.quantize.ranges import kv_ranges
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import Method, QuantizeSettings
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local
from edgec.source.model import Checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = [pytest.mark.reference, pytest.mark.filterwarnings("ignore")]

SETTINGS = {m: QuantizeSettings(m, GROUP, max_tokens=2048, sequence_tokens=64) for m in ("awq", "gptq", "smoothquant")}
TOKENS = 96


def our_logits(checkpoint: Checkpoint, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    decoder = plan_decoder(checkpoint.header)
    with open_weights(checkpoint) as weights:
        table = weights.rows("model.embed_tokens.weight", 0, decoder.vocabulary)
        hidden = table[ids.reshape(-1)]
        for layer in range(decoder.layers):
            hidden = DecoderLayer(decoder, weights, layer).run(hidden, ids.shape[1]).hidden
        head = table if decoder.tied else weights.rows("lm_head.weight", 0, decoder.vocabulary)
        return rms_norm(hidden, weights.vector("model.norm.weight"), decoder.epsilon) @ head.T


def their_model(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def their_logits(model: Any, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits = model(torch.from_numpy(ids).long()).logits
    return logits.numpy().reshape(-1, logits.shape[-1])


def tokens(count: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).integers(0, 4096, (count, TOKENS))


def quantized(source: Checkpoint, out: Path, method: Method) -> Checkpoint:
    out.mkdir()
    layout = plan_quantized(source.header, SETTINGS[method])
    quantize_checkpoint(source, layout, CALIBRATION, out, report=silent, action="quantize")
    return open_local(out)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_pass_is_the_one_of_transformers(tmp_path: Path, family: str) -> None:
    source = write_small(tmp_path, family)
    expected = their_logits(their_model(tmp_path), tokens())
    assert expected.std() > 0.1
    np.testing.assert_allclose(our_logits(source, tokens()), expected, atol=2e-4 * float(np.abs(expected).max()))


def test_linear_rope_scaling(tmp_path: Path) -> None:
    source = write_small(tmp_path, rope_scaling={"rope_type": "linear", "factor": 4.0})
    expected = their_logits(their_model(tmp_path), tokens())
    np.testing.assert_allclose(our_logits(source, tokens()), expected, atol=2e-4 * float(np.abs(expected).max()))


def unpacked(tensors: dict[str, Any], name: str, method: Method) -> Any:
    """The weights (outputs, inputs) of a linear, unpacked as the layouts' own implementations do, in torch."""
    if method == "smoothquant":
        return tensors[f"{name}.weight"].float() * tensors[f"{name}.weight_scale"][:, None]
    words, scales = tensors[f"{name}.qweight"], tensors[f"{name}.scales"].float()
    shifts = torch.arange(0, 32, 4)
    if method == "gptq":
        codes = ((words[:, None, :] >> shifts[None, :, None]) & 15).reshape(-1, words.shape[1])
        zeros = ((tensors[f"{name}.qzeros"][:, :, None] >> shifts) & 15).reshape(scales.shape) + 1
        groups = tensors[f"{name}.g_idx"].long()
        return (scales[groups] * (codes - zeros[groups])).T
    reverse = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    codes = ((words[:, :, None] >> shifts) & 15)[:, :, reverse].reshape(len(words), -1)
    zeros = ((tensors[f"{name}.qzeros"][:, :, None] >> shifts) & 15)[:, :, reverse].reshape(scales.shape)
    groups = torch.arange(len(words)) // GROUP
    return ((codes - zeros[groups]) * scales[groups]).T


@pytest.mark.parametrize("method", ["awq", "gptq", "smoothquant"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantized_checkpoint_means_the_same_to_others(tmp_path: Path, family: str, method: Method) -> None:
    """Unpacked independently and put into transformers' model, it computes what our reader and forward pass do."""
    made = quantized(write_small(tmp_path / "source", family), tmp_path / "out", method)
    tensors = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    model = their_model(tmp_path / "source")
    modules = dict(model.named_modules())
    with open_weights(made) as weights, torch.no_grad():
        for name, parameter in model.named_parameters():
            linear = name.removesuffix(".weight")
            if name.endswith(".weight") and linear in weights.linears and linear != "lm_head":
                values = unpacked(tensors, linear, method)
                rows = weights.rows(name, 0, len(values))
                np.testing.assert_allclose(values.numpy(), rows, rtol=1e-6, atol=1e-9)
                parameter.copy_(values)
                if method == "smoothquant":
                    round_inputs(modules[linear], float(tensors[f"{linear}.input_scale"]))
            else:
                parameter.copy_(tensors[name].float())
    expected = their_logits(model, tokens())
    difference = np.abs(our_logits(made, tokens()) - expected)
    # A value at the edge of two INT8 steps may fall to either side.
    most = 0.05 if method == "smoothquant" else 5e-4
    assert difference.mean() < most * expected.std()
    assert difference.max() < 20 * most * expected.std()


def round_inputs(module: Any, scale: float) -> None:
    def rounded(_module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.clamp(torch.round(arguments[0] / scale), -128, 127) * scale,)

    module.register_forward_pre_hook(rounded)


@pytest.mark.parametrize("family", ["LlamaForCausalLM", "Qwen3ForCausalLM"])
def test_ranges_of_keys_and_values(tmp_path: Path, family: str) -> None:
    source = write_small(tmp_path / "source", family)
    settings = QuantizeSettings("rtn", max_tokens=1024, sequence_tokens=64)
    found = kv_ranges(source, CALIBRATION, tmp_path / "scratch", report=silent, action="ranges", settings=settings)
    ids = calibration_windows(source.header, plan_decoder(source.header), settings, CALIBRATION)
    with torch.no_grad():
        cache = their_model(tmp_path / "source")(torch.from_numpy(ids).long(), use_cache=True).past_key_values
    assert [r.layer for r in found] == [0, 1, 2]
    for mine, theirs in zip(found, cache.layers, strict=True):
        assert mine.key == pytest.approx(float(theirs.keys.abs().max()), rel=1e-4)
        assert mine.value == pytest.approx(float(theirs.values.abs().max()), rel=1e-4)
        assert mine.key_scale == mine.key / 127
    assert not (tmp_path / "scratch" / "hidden").exists()
