"""Runs a GGUF on texts, token after given token. Started twice with the same request: natively, and in qemu.

Runs in the toolchain `emulation` and in the emulated root, by edgec.toolchain; of edgec it imports what needs numpy
only.

Request: `package` (edgec's folder), `model`, `kind`, `texts`, `max_tokens` (of one text), `single_tokens` (how many of
the first text are also run one at a time, as a device decodes), `threads`, `out` (a file: `rows`).
Answer: `ids` (lists), `runtime`, `features` (llama.cpp's list), `machine`.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_CONTEXT_TOKENS = 512


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    sys.path.insert(0, request["package"])
    from edgec.formats.gguf.runtime.binding import load  # noqa: PLC0415 - the path is known only now
    from edgec.formats.gguf.runtime.session import Session, Settings  # noqa: PLC0415

    decodes = request["kind"] == "decoder"
    lib = load()
    progress(0, len(request["texts"]) + 1, "texts", "opening the model")
    settings = Settings(
        request["model"], n_ctx=_CONTEXT_TOKENS, n_batch=0, threads=request["threads"], embeddings=not decodes,
        collect=False,
    )  # fmt: skip
    session = Session(lib, settings)
    ids = [_ids(session, text, request["max_tokens"]) for text in request["texts"]]
    rows = []
    for done, one in enumerate(ids):
        progress(done, len(ids) + 1, "texts", f"{len(one)} tokens on {platform.machine()}")
        rows += [np.array(piece) for piece in session.logits(one, 0)] if decodes else [session.embed(one)[None]]
    if decodes:
        progress(len(ids), len(ids) + 1, "texts", f"one token at a time on {platform.machine()}")
        rows += [np.array(piece) for piece in session.logits(ids[0][: request["single_tokens"]], 0, most=1)]
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, rows=np.concatenate(rows))
    lib.llama_print_system_info.restype = ctypes.c_char_p
    return {
        "ids": ids,
        "runtime": session.info()["runtime"],
        "features": lib.llama_print_system_info().decode(errors="replace"),
        "machine": platform.machine(),
    }


def _ids(session: Any, text: str, most: int) -> list[int]:
    """Its first tokens; the last of an encoder's, a special one, stays."""
    ids = session.tokenize(text, True, False)
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]
