"""Computes an importance matrix on llama.cpp: which input columns of each weight matter on the calibration text.

Rule: as llama.cpp's own tool, apart from the precision of sums: the text from its start, in whole chunks, each with
cleared memory and (where the model adds BOS) BOS as its first token. The same model, text and build of llama.cpp give
the same bytes, whatever the number of threads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgec.documents.canonical import sha256_bytes
from edgec.errors import InputError
from edgec.events import Note, Progress, Reporter
from edgec.formats.gguf.imatrix_file import write_imatrix
from edgec.formats.gguf.runtime.client import LlamaProcess

# llama-imatrix's default. A model trained with less gets its own context.
CHUNK_TOKENS = 512


def compute_imatrix(
    model: Path,
    text: str,
    *,
    max_tokens: int,
    chunk_tokens: int = CHUNK_TOKENS,
    out: Path,
    report: Reporter,
    action: str,
    threads: int | None = None,
    logs: Path | None = None,
) -> None:
    """Writes the importance matrix of `model` on the first `max_tokens` tokens of `text` to `out`.

    `logs`: the folder for llama.cpp's output. Raises InputError when the text is shorter than one chunk or leaves a
    column without weight, ToolError when the model cannot be run or an activation is not finite (naming the tensor).
    """
    with LlamaProcess(model, n_ctx=chunk_tokens, collect=True, threads=threads, logs=logs) as llama:
        chunks = _chunks(llama, text, max_tokens, report)
        size = len(chunks[0])
        for done, chunk in enumerate(chunks):
            report(Progress(action, done * size, len(chunks) * size, "tokens"))
            llama.collect_chunk(chunk)
        report(Progress(action, len(chunks) * size, len(chunks) * size, "tokens"))
        collected = list(llama.collected())
    write_imatrix(
        out,
        {entry.name: entry.sums.astype(np.float32) for entry in collected},
        {entry.name: entry.rows for entry in collected},
        datasets=[sha256_bytes(text.encode())],
        chunk_count=len(chunks),
        chunk_size=size,
    )


def _chunks(llama: LlamaProcess, text: str, max_tokens: int, report: Reporter) -> list[list[int]]:
    """Whole chunks of token ids. Raises InputError when there is not one."""
    info = llama.info()
    tokens = llama.tokenize(text, add_special=True, parse_special=False)
    size = info.n_ctx
    count = min(len(tokens), max_tokens) // size
    if count == 0:
        raise InputError.of(
            f"the calibration text has {len(tokens)} tokens, of which {max_tokens} may be used; one chunk needs {size}",
            hint="give a longer calibration text, or raise imatrix.max_tokens",
        )
    if len(tokens) < max_tokens:
        report(Note(f"the calibration text has {len(tokens)} tokens, fewer than imatrix.max_tokens ({max_tokens})"))
    chunks = [tokens[i * size : (i + 1) * size] for i in range(count)]
    if info.add_bos:
        chunks = [[info.special["bos"], *chunk[1:]] for chunk in chunks]
    return chunks
