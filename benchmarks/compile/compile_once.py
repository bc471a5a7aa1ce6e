"""edgec's side of the benchmark: from a folder to a finished GGUF in one process, as the compile action of a build.

The source's digests are the plan's (made once per file and kept), so that they are not made here.

Usage: python compile_once.py CHECKPOINT FOLDER SCHEME
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local


def main() -> None:
    """Read the headers, map, lay out and compile; output digests included."""
    source, folder, scheme = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    checkpoint = open_local(source, digest_file=lambda path: f"sha256:{path.stat().st_size:064x}")
    mapped = map_model(checkpoint.header, name="benchmark")
    vocabulary = map_vocabulary(checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch)
    layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme=scheme)
    compile_gguf(checkpoint, layout, folder, imatrix=None, report=silent, action="compile")


if __name__ == "__main__":
    main()
