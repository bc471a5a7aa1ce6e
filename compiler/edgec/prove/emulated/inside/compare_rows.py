"""Compares what the emulated run computed with what this machine did, on the same tokens.

Runs in the toolchain `emulation`, by edgec.toolchain; of edgec it imports what needs numpy only. `edgec verify` itself
imports no numpy.

Request: `package`, `kind`, `native` and `emulated` (files with an array of rows; of a `classifier` and a `graph` one
for each output).
Answer: `rows`, `broken` (rows that are not finite; of a classifier and a graph not where the other one is), of these
also `undefined` (rows that have NaN on this machine), and what the kind measures: `mean_kl`, `top1`, `max_tie` (nats by
which this machine's choice was likelier there where the emulated one differs) or `min_cosine`, `mean_cosine` or `error`
(the largest difference of scores, as a share of their spread); of outputs of whole numbers `equal`, the share of them
that is.
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
    native, emulated = (_arrays(request[side]) for side in ("native", "emulated"))
    if request["kind"] in ("classifier", "graph"):
        return _outputs(native, emulated)
    return _rows(request["kind"], *(np.asarray(one[0], np.float64) for one in (native, emulated)))


def _arrays(path: str) -> list[Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.values())


def _rows(kind: str, native: _Rows, emulated: _Rows) -> dict[str, Any]:
    if native.shape != emulated.shape:
        return {"rows": len(native), "broken": len(native)}
    finite = np.isfinite(native).all(axis=1) & np.isfinite(emulated).all(axis=1)
    found = {"rows": len(native), "broken": int((~finite).sum())}
    if not finite.any():
        return found
    return {**found, **_MEASURES[kind](native[finite], emulated[finite])}


def _outputs(native: list[_Rows], emulated: list[_Rows]) -> dict[str, Any]:
    """Each output by itself; what is told is the worst of them."""
    found: dict[str, Any] = {"rows": sum(map(len, native)), "broken": 0, "undefined": 0}
    cosines: list[_Rows] = []
    for here, there in zip(native, emulated, strict=True):
        if there.shape != here.shape:
            found["broken"] += len(here)
            continue
        if here.dtype.kind != "f":
            equal = float((here == there).mean()) if here.size else 1.0
            found["equal"] = min(found.get("equal", 1.0), equal)
            continue
        one, other = here.astype(np.float64), there.astype(np.float64)
        # What a model gives as infinite, a mask for example, it must give as that on both machines.
        same = np.where(np.isfinite(one), np.isfinite(other), one == other)
        whole = same.all(axis=1)
        found["broken"] += int((~whole).sum())
        found["undefined"] += int(np.isnan(one).any(axis=1).sum())
        one, other = (np.where(np.isfinite(values), values, 0)[whole] for values in (one, other))
        cosines.append(_each_cosine(one, other))
    every = np.concatenate(cosines) if cosines else np.zeros(0)
    return found | ({"min_cosine": float(every.min()), "mean_cosine": float(every.mean())} if every.size else {})


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
    cosines = _each_cosine(native, emulated)
    return {"min_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean())}


def _each_cosine(native: _Rows, emulated: _Rows) -> _Rows:
    """Of each row; two rows of zeros are the same."""
    norms = np.linalg.norm(native, axis=1) * np.linalg.norm(emulated, axis=1)
    cosines = (native * emulated).sum(axis=1) / np.where(norms > 0, norms, np.inf)
    return np.where((native == emulated).all(axis=1), 1.0, cosines)


def _scores(native: _Rows, emulated: _Rows) -> dict[str, float]:
    spread = float(native.std())
    return {"error": float(np.abs(native - emulated).max()) / (spread if spread > 0 else 1.0)}


_MEASURES: dict[str, Callable[[_Rows, _Rows], dict[str, float]]] = {
    "decoder": _divergence,
    "encoder": _cosines,
    "reranker": _scores,
}
