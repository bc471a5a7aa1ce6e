"""edgec's side: a TensorRT-LLM checkpoint of a folder, in one process. Usage: write_once.py CHECKPOINT OUT SCHEME"""

from __future__ import annotations

import sys
from pathlib import Path

from edgec.events import silent
from edgec.formats.trtllm.layout import plan_trtllm
from edgec.formats.trtllm.write import write_trtllm
from edgec.quantize.weights import open_weights
from edgec.source.local import open_local

source, out, scheme = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
# The digests are the plan's, made once per file and kept.
checkpoint = open_local(source, digest_file=lambda path: f"sha256:{path.stat().st_size:064x}")
layout = plan_trtllm(checkpoint.header, scheme=scheme, version="0.12.0")
with open_weights(checkpoint) as weights:
    write_trtllm(weights, layout, out, report=silent, action="write")
