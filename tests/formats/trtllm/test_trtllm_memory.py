"""Memory is a constant: a process that writes, checks and decodes a model with a large vocabulary stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import decoder_models as models
import numpy as np
import pytest
from decoder_models import QWEN2

from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors

# Qwen2's vocabulary: 272 MB of embedding in BF16, 544 MB as float32.
WIDE = {**QWEN2, "hidden_size": 896, "num_attention_heads": 14, "intermediate_size": 4864, "vocab_size": 151936}
LIMIT_MIB = 400

_SCRIPT = """
import json, sys
from pathlib import Path
from edgec.events import silent
from edgec.formats.trtllm.check import check_against_source
from edgec.formats.trtllm.decode import decode_checkpoint
from edgec.formats.trtllm.layout import plan_trtllm
from edgec.formats.trtllm.write import write_trtllm
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local

folder, scheme = Path(sys.argv[1]), sys.argv[2]
checkpoint = open_local(folder / "hf")
layout = plan_trtllm(checkpoint.header, scheme=scheme, version="0.16.0")
peaks = {}
def peak(step):
    # Not ru_maxrss, which begins with that of the process this one was forked from.
    peaks[step] = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10
with open_weights(checkpoint) as weights:
    write_trtllm(weights, layout, folder / "out", report=silent, action="x", threads=4)
    peak("write")
    check_against_source(weights, layout, folder / "out")
    peak("check")
decode_checkpoint(folder / "out", checkpoint.header.config, folder / "plain")
peak("decode")
print(json.dumps(peaks))
"""


def random_checkpoint(folder: Path) -> None:
    """Random BF16 of the shape, streamed."""
    shapes = {n: v.shape for n, v in models.others({**WIDE, "vocab_size": 8}).items()}
    shapes["model.embed_tokens.weight"] = (WIDE["vocab_size"], WIDE["hidden_size"])
    shapes |= {f"{n}.weight": s for n, s in models.linears(WIDE).items()}
    rng = np.random.default_rng(0)
    layout = plan_safetensors(TensorSpec(n, "BF16", s) for n, s in shapes.items())
    with SafetensorsFile(folder / "model.safetensors", layout) as file:
        for name, shape in shapes.items():
            for begin in range(0, shape[0], 4096):
                part = (min(4096, shape[0] - begin), *shape[1:])
                bits = (rng.standard_normal(part, np.float32) * 0.02).view(np.uint32) >> 16
                file.write(name, bits.astype(np.uint16), begin)
    (folder / "config.json").write_text(json.dumps(WIDE))


@pytest.mark.parametrize("scheme", ["fp16", "int4_wo"])
def test_peak_memory(scheme: str, tmp_path: Path) -> None:
    for name in ("hf", "out", "plain"):
        (tmp_path / name).mkdir()
    random_checkpoint(tmp_path / "hf")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path), scheme], capture_output=True, text=True, check=True, timeout=300
    )
    peaks = json.loads(done.stdout)
    assert peaks.keys() == {"write", "check", "decode"}
    assert max(peaks.values()) <= LIMIT_MIB, peaks
