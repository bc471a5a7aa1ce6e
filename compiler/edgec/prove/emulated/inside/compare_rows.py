"""Compares what the emulated run computed with what this machine did, on the same tokens.

Runs in the toolchain `emulation`, by edgec.toolchain; of edgec it imports what needs numpy only. `edgec verify` itself
imports no numpy.

Request: `package`, `kind`, `native` and `emulated` (files with `rows`).
Answer: `rows`, `broken` (rows that are not finite) and what the kind measures: `mean_kl`, `top1`, `max_tie` (nats by
which this machine's choice was likelier there where the emulated one differs) or `min_cosine`, `mean_cosine` or
`error` (the largest difference of scores, as a share of their spread).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_Rows = Any


def run(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    sys.path.insert(0, request["package"])
    native, emulated = (_rows(request[side]) for side in ("native", "emulated"))
    if native.shape != emulated.shape:
        return {"rows": len(native), "broken": len(native)}
    finite = np.isfinite(native).all(axis=1) & np.isfinite(emulated).all(axis=1)
    found = {"rows": len(native), "broken": int((~finite).sum())}
    if not finite.any():
        return found
    return {**found, **_MEASURES[request["kind"]](native[finite], emulated[finite])}


def _rows(path: str) -> _Rows:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["rows"], dtype=np.float64)


def _divergence(native: _Rows, emulated: _Rows) -> dict[str, float]:
    from edgec.prove.divergence import DivergenceMeter  # noqa: PLC0415 - the path is known only now

    meter = DivergenceMeter()
    # What follows each token plays no part in what is taken of the result.
    meter.add(native, emulated, [0] * len(native))
    result = meter.result()
    choice, other = native.argmax(axis=1), emulated.argmax(axis=1)
    every = np.arange(len(native))
    ties = native[every, choice] - native[every, other]
    return {"mean_kl": result.mean_kl, "top1": result.top1, "max_tie": float(ties.max())}


def _cosines(native: _Rows, emulated: _Rows) -> dict[str, float]:
    norms = np.linalg.norm(native, axis=1) * np.linalg.norm(emulated, axis=1)
    cosines = (native * emulated).sum(axis=1) / np.where(norms > 0, norms, np.inf)
    return {"min_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean())}


def _scores(native: _Rows, emulated: _Rows) -> dict[str, float]:
    spread = float(native.std())
    return {"error": float(np.abs(native - emulated).max()) / (spread if spread > 0 else 1.0)}


_MEASURES: dict[str, Callable[[_Rows, _Rows], dict[str, float]]] = {
    "decoder": _divergence,
    "encoder": _cosines,
    "reranker": _scores,
}
