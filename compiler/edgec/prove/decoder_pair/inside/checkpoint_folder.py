"""The tensors of a Hugging Face checkpoint in a folder, read piece by piece and widened to float32.

Runs in the toolchain. Rule: a file is open, and so mapped, only while it is read; a tensor that is missing, of another
shape or with a value that is not finite is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class RefusedError(Exception):
    """A checkpoint cannot be compared; `which` is `source` or `candidate`."""

    def __init__(self, which: str, message: str) -> None:
        super().__init__(message)
        self.which = which
        self.message = message


class CheckpointFolder:
    """Reads tensors by name. `which` names the checkpoint in errors."""

    def __init__(self, folder: Path, which: str) -> None:
        self.folder = folder
        self.which = which
        self._files = self._index()

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors, as stored."""
        return frozenset(self._files)

    def has(self, name: str) -> bool:
        """Whether a tensor of this name is there."""
        return self._stored(name) in self._files

    def load(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
        """These tensors, whole, in float32."""
        found: dict[str, torch.Tensor] = {}
        by_file: dict[Path, list[str]] = {}
        for name in shapes:
            by_file.setdefault(self._file(name), []).append(name)
        for file, names in by_file.items():
            with safe_open(file, framework="pt") as opened:
                for name in names:
                    self._demand_shape(name, opened.get_slice(self._stored(name)).get_shape(), shapes[name])
                    found[name] = self._finite(name, opened.get_tensor(self._stored(name)))
        return found

    def rows(self, name: str, indexes: Iterable[int], width: int) -> torch.Tensor:
        """Single rows of a matrix, in this order, in float32."""
        with safe_open(self._file(name), framework="pt") as opened:
            matrix = opened.get_slice(self._stored(name))
            self._demand_shape(name, matrix.get_shape()[1:], [width])
            count = matrix.get_shape()[0]
            wanted = list(indexes)
            if wanted and max(wanted) >= count:
                raise RefusedError(self.which, f"token {max(wanted)} has no row in tensor '{name}' of {count} rows")
            return self._finite(name, torch.cat([matrix[i : i + 1] for i in wanted]))

    def row_range(self, name: str, begin: int, end: int) -> torch.Tensor:
        """The rows [begin, end) of a matrix, in float32."""
        with safe_open(self._file(name), framework="pt") as opened:
            return self._finite(name, opened.get_slice(self._stored(name))[begin:end])

    def vector(self, name: str) -> torch.Tensor:
        """A tensor of any shape, flat, in float32."""
        with safe_open(self._file(name), framework="pt") as opened:
            return self._finite(name, opened.get_tensor(self._stored(name))).flatten()

    def demand(self, name: str, shape: Sequence[int]) -> None:
        """Refuses the checkpoint unless this tensor is there in this shape."""
        with safe_open(self._file(name), framework="pt") as opened:
            self._demand_shape(name, opened.get_slice(self._stored(name)).get_shape(), shape)

    def _index(self) -> dict[str, Path]:
        index = self.folder / _INDEX
        if index.is_file():
            entries = json.loads(index.read_bytes())["weight_map"]
            return {name: self.folder / file for name, file in entries.items()}
        file = self.folder / _SINGLE
        if not file.is_file():
            raise RefusedError(self.which, f"neither {_SINGLE} nor {_INDEX} is in {self.folder}")
        with safe_open(file, framework="pt") as opened:
            return dict.fromkeys(opened.keys(), file)

    def _stored(self, name: str) -> str:
        # A checkpoint saved from the model without its head has no prefix.
        bare = name.removeprefix("model.")
        return bare if name not in self._files and bare in self._files else name

    def _file(self, name: str) -> Path:
        file = self._files.get(self._stored(name))
        if file is None:
            raise RefusedError(self.which, f"tensor '{name}' is missing")
        return file

    def _demand_shape(self, name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
        if list(found) != list(wanted):
            shown = f"has the shape {list(found)}; the model's config wants {list(wanted)}"
            raise RefusedError(self.which, f"tensor '{name}' {shown}")

    def _finite(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.dtype.is_floating_point:
            raise RefusedError(self.which, f"tensor '{name}' is of {tensor.dtype}: the checkpoint is quantized")
        # A copy also of float32: nothing may point into the file when it is closed.
        wide = tensor.to(torch.float32, copy=True)
        if not bool(torch.isfinite(wide).all()):
            raise RefusedError(self.which, f"tensor '{name}' has values that are not finite")
        return wide
