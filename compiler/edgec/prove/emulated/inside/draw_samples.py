"""Draws inputs for a graph that takes no text, the same at every time: both runs get the same file.

Runs in the toolchain `emulation` on this machine, by edgec.toolchain; imports nothing of edgec.

Request: `inputs` (each `name`, `dtype`, `shape`, and `image` with `scale`, `mean`, `std` and `channels_last`, or null),
`samples` (a number), `out` (a file with an array of each input, in their order). Answer: `samples`.

An image is a picture of soft waves, as bright as photographs are and prepared as the manifest says; other numbers are
waves of the size of one; whole numbers are 0 and 1. An open dimension is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_WAVES, _HIGHEST = 6, 8.0
_MIDDLE, _CONTRAST = 110.0, 50.0
_SEED = 20261126


def run(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    random = np.random.default_rng(_SEED)
    count = int(request["samples"])
    arrays = [np.stack([_drawn(port, random) for _ in range(count)]) for port in request["inputs"]]
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, *arrays)
    return {"samples": count}


def _drawn(port: dict[str, Any], random: Any) -> Any:
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in port["shape"]]
    kind = np.dtype(port["dtype"])
    if kind.kind != "f":
        return random.integers(0, 2, shape).astype(kind)
    values = _waves(shape, random)
    if port.get("image") is None:
        return values.astype(kind)
    image = port["image"]
    pixels = np.clip(_MIDDLE + _CONTRAST * values, 0, 255).round()
    # One number, or one for each channel.
    at = (-1,) if image["channels_last"] else (-1, 1, 1)
    mean, std = (np.asarray(image[name], np.float64).reshape(at) for name in ("mean", "std"))
    return ((pixels * image["scale"] - mean) / std).astype(kind)


def _waves(shape: list[int], random: Any) -> Any:
    """Of mean 0 and variance 1, soft along the last two dimensions, with a little noise."""
    planes, height, width = int(np.prod(shape[:-2], dtype=int)), *([1, 1, *shape][-2:])
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    values = 0.1 * random.standard_normal((planes, height, width))
    for number in range(planes):
        for steep, flat, begin in random.uniform(0, 1, (_WAVES, 3)):
            values[number] += np.sin(2 * np.pi * (_HIGHEST * (steep * down + flat * across) + begin))
    return ((values - values.mean()) / max(float(values.std()), 1e-9)).reshape(shape)
