"""Write an importance matrix of random numbers for a checkpoint, for both sides of the benchmark: the work is the same.

Usage: python random_imatrix.py CHECKPOINT FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.imatrix_file import write_imatrix
from edgec.source.local import open_local

_TOKENS = 1000
# Not multiplied with activations, or not by default: llama-imatrix has nothing for them.
_NOT_COLLECTED = {"token_embd.weight", "output.weight"}


def main() -> None:
    """One random sum per column of every matrix (gamma, seed 0)."""
    source, path = Path(sys.argv[1]), Path(sys.argv[2])
    checkpoint = open_local(source, digest_file=lambda file: f"sha256:{file.stat().st_size:064x}")
    rng = np.random.default_rng(0)
    matrices = [t for t in map_model(checkpoint.header, name="benchmark").tensors if len(t.shape) == 2]
    sums = {
        t.name: rng.gamma(1.0, 100.0, t.columns).astype(np.float32) for t in matrices if t.name not in _NOT_COLLECTED
    }
    counts = dict.fromkeys(sums, _TOKENS)
    write_imatrix(path, sums, counts, datasets=["random"], chunk_count=1, chunk_size=_TOKENS)


if __name__ == "__main__":
    main()
