"""edgec's side of the benchmark: from a folder to finished GGUFs in one process, as the compile actions of a build.

The source's digests are the plan's (made once per file and kept), so that they are not made here.

Writes FOLDER/SCHEME/model.gguf for each scheme.

Usage: python compile_once.py CHECKPOINT FOLDER SCHEME... [--threads N] [--imatrix FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_together
from edgec.formats.gguf.imatrix_file import read_imatrix
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.sink import GgufJob
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local


def main() -> None:
    """Read the headers, map, lay out and compile; output digests included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("schemes", nargs="+")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--imatrix", type=Path)
    given = parser.parse_args()
    checkpoint = open_local(given.source, digest_file=lambda path: f"sha256:{path.stat().st_size:064x}")
    mapped = map_model(checkpoint.header, name="benchmark")
    vocabulary = map_vocabulary(checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch)
    imatrix = read_imatrix(given.imatrix) if given.imatrix else None
    jobs = [
        GgufJob(
            plan_layout(
                mapped, vocabulary, checkpoint.header.tensors, scheme=scheme, has_imatrix=imatrix is not None
            ),
            given.folder / scheme,
            imatrix,
            scheme,
        )
        for scheme in given.schemes
    ]  # fmt: skip
    # Until here it is the plan of a build, on one core whatever the number of threads.
    print(json.dumps({"plan_cpu_s": time.process_time(), "plan_ended_s": time.monotonic()}), flush=True)
    compile_together(checkpoint, jobs, report=silent, threads=given.threads)


if __name__ == "__main__":
    main()
