"""edgec's side of the benchmark: from a folder to a finished GGUF in one process, hashing the source included.

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
    """Everything a build does to make the file; what it reuses from its store is done anew here."""
    source, folder, scheme = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    checkpoint = open_local(source)
    mapped = map_model(checkpoint.header, name="benchmark")
    vocabulary = map_vocabulary(checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch)
    layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme=scheme)
    compile_gguf(checkpoint, layout, folder, imatrix=None, report=silent, action="compile")


if __name__ == "__main__":
    main()
