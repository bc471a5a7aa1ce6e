"""Folders of small images that a model can tell apart: stripes, discs and noise in colours, all from one seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(number: int, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """One picture; each number gives another."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width]
    angle, frequency = random.uniform(0, np.pi), random.uniform(0.05, 0.6)
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * frequency)[..., None] * random.uniform(20, 90, 3)
    centre, radius = random.uniform(0.2, 0.8, 2) * (height, width), random.uniform(5, 25)
    disc = (np.hypot(y - centre[0], x - centre[1]) < radius)[..., None] * random.uniform(-120, 120, 3)
    noise = random.normal(0, 8, (height, width, 3))
    return np.clip(random.uniform(60, 190, 3) + stripes + disc + noise, 0, 255).astype(np.uint8)


def write_images(folder: Path, count: int, *, first: int = 0, height: int = 60, width: int = 80) -> Path:
    """So many PNG files in `folder`; `first`: the number of the first picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.fromarray(picture(number, height, width)).save(folder / f"{number:04}.png")
    return folder
