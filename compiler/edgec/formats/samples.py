"""Samples of a graph's inputs: a folder of images, a folder of .npy or .npz, one .npy, one .npz.

Rule: a sample that the model cannot take is an error that names it; none is passed over in silence.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.documents.canonical import canonical_json, sha256_bytes, sha256_file
from edgec.errors import EdgecError, InputError
from edgec.formats.image_settings import ImageSettings
from edgec.formats.images import image_files, load_image

Array = npt.NDArray[Any]
Feed = dict[str, Array]
_ARRAYS = (".npy", ".npz")
_SAVE = "save it with numpy.save (.npy) or numpy.savez (.npz), of numbers"


@dataclass(frozen=True)
class SampleInput:
    """An input that samples are for. A dimension that is no number takes any length; `image`: how images become it."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    image: ImageSettings | None = None


@dataclass(frozen=True)
class Samples:
    """Samples at `path`, in the files `files`; `rows`: of how many each file consists (None: the file is one)."""

    path: Path
    what: str
    inputs: tuple[SampleInput, ...]
    files: tuple[Path, ...]
    rows: int | None

    def __len__(self) -> int:
        return len(self.files) if self.rows is None else self.rows

    @property
    def digest(self) -> str:
        """One digest over the contents of all files, in the order of their names."""
        return sha256_bytes(canonical_json([sha256_file(file) for file in self.files]))

    def each(self, indices: Iterable[int]) -> Iterator[Feed]:
        """Samples by number: an array for each input, batch dimension included. Raises InputError, naming the one."""
        if self.rows is not None:
            whole = _arrays(self.files[0], self.what, self.inputs)
            for index in indices:
                rows = {name: array[index] for name, array in whole.items()}
                yield self._fitted(rows, f"{self.files[0]}: sample {index}")
            return
        for index in indices:
            file, image = self.files[index], self.inputs[0].image
            if file.suffix.lower() in _ARRAYS or image is None:
                yield self._fitted(_arrays(file, self.what, self.inputs), str(file))
            else:
                yield self._fitted({self.inputs[0].name: load_image(file, image)}, str(file))

    def marks(self, indices: Iterable[int]) -> Iterator[str]:
        """What tells samples by number apart, whether or not the model can take them; an image by its file."""
        if self.rows is not None:
            whole = _arrays(self.files[0], self.what, self.inputs)
            for index in indices:
                yield sample_digest({name: array[index] for name, array in whole.items()})
            return
        for index in indices:
            file = self.files[index]
            is_image = file.suffix.lower() not in _ARRAYS
            yield sha256_file(file) if is_image else sample_digest(_arrays(file, self.what, self.inputs))

    def _fitted(self, arrays: Mapping[str, Array], place: str) -> Feed:
        return {one.name: _fitted(arrays[one.name], one, place, self.what) for one in self.inputs}


def open_samples(path: Path, inputs: Sequence[SampleInput], what: str) -> Samples:
    """The samples at `path`, which must suit the inputs as far as headers show. `what` names them in messages."""
    wanted = tuple(inputs)
    if path.is_dir():
        return Samples(path, what, wanted, tuple(_folder(path, wanted, what)), None)
    if path.suffix.lower() not in _ARRAYS:
        raise InputError.of(
            f"the {what} are neither a folder nor a .npy or .npz file",
            hint="name a folder of images, a folder of .npy files, or one .npy or .npz with a sample in each row",
            place=str(path),
        )
    arrays = _arrays(path, what, wanted)
    counts = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"`{name}` {count}" for name, count in counts.items())
        hint = "every input needs as many samples as the others"
        raise InputError.of(f"the {what} have different numbers of samples: {told}", hint=hint, place=str(path))
    rows = next(iter(counts.values()))
    if rows == 0:
        raise InputError.of(f"the {what} are empty", hint="put a sample into each row", place=str(path))
    for one in wanted:
        _shaped(arrays[one.name][0], one, f"{path}: sample 0", what)
    return Samples(path, what, wanted, (path,), rows)


def evenly(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of `count` indices, from all parts."""
    taken = min(count, most)
    return tuple(i * (count - 1) // max(1, taken - 1) for i in range(taken))


def sample_digest(feed: Mapping[str, Array]) -> str:
    """What makes two samples the same: the numbers that the model gets."""
    digest = hashlib.sha256()
    for name in sorted(feed):
        array = np.ascontiguousarray(feed[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return f"sha256:{digest.hexdigest()}"


def _folder(path: Path, inputs: tuple[SampleInput, ...], what: str) -> list[Path]:
    names = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    if names and all(p.suffix.lower() in _ARRAYS and p.is_file() for p in names):
        return names
    files = image_files(path)
    if len(inputs) != 1 or inputs[0].image is None:
        hint = (
            f"add `image:` below `source.inputs.{inputs[0].name}`, which says how an image becomes it"
            if len(inputs) == 1
            else "give .npz files: an array for each input, by its name"
        )
        raise InputError.of(f"the {what} are images, and nothing says how they become the inputs", hint=hint,
                            place=str(path))  # fmt: skip
    for file in files:
        _require_image(file)
    return files


def _require_image(file: Path) -> None:
    """By the file's beginning alone: decoding all of them takes time."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(file):
            pass
    except UnidentifiedImageError as error:
        raise InputError.of(
            "is not an image, whatever its name says", hint="give PNG, JPEG, WebP or BMP files", place=str(file)
        ) from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        hint = "copy it again, or leave it out"
        raise InputError.of(f"the image cannot be opened: {error}", hint=hint, place=str(file)) from error


def _arrays(path: Path, what: str, inputs: tuple[SampleInput, ...]) -> dict[str, Array]:
    """The arrays of a file by the inputs' names; an .npy is mapped, not read."""
    names = [one.name for one in inputs]
    try:
        if path.stat().st_size == 0:
            raise _unreadable(path, what, "is an empty file")
        if _is_cut_zip(path):
            # numpy would leave it open.
            raise _unreadable(path, what, "is cut off")
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            if len(inputs) > 1:
                hint = "give an .npz with an array for each input"
                raise InputError.of(f"the graph has the inputs {', '.join(names)}, and an .npy holds one array",
                                    hint=hint, place=str(path))  # fmt: skip
            return {names[0]: found}
        with found:
            missing = [name for name in names if name not in found.files]
            if missing:
                hint = f"numpy.savez(file, {', '.join(f'{name}=...' for name in names)})"
                has = ", ".join(found.files) or "none"
                raise InputError.of(f"the {what} have no array `{missing[0]}`, but {has}", hint=hint, place=str(path))
            return {name: found[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, what, f"cannot be read: {str(error)[:200]}") from error


def _is_cut_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK" and not zipfile.is_zipfile(path)


def _unreadable(path: Path, what: str, why: str) -> EdgecError:
    return InputError.of(f"the file of {what} {why}", hint=_SAVE, place=str(path))


def _shaped(value: Array, one: SampleInput, place: str, what: str) -> Array:
    """With the batch dimension where it has none. Raises InputError: other type or shape."""
    if value.dtype != np.dtype(one.dtype):
        raise InputError.of(
            f"the {what} have the type {value.dtype}, and the input `{one.name}` takes {one.dtype}",
            hint=f"save them as array.astype(numpy.{one.dtype})",
            place=place,
        )
    batch = bool(one.shape) and one.shape[0] in (1, *(d for d in one.shape[:1] if isinstance(d, str)))
    shaped = value[None] if batch and value.ndim == len(one.shape) - 1 else value
    fits = shaped.ndim == len(one.shape) and all(
        d == n or isinstance(d, str) for d, n in zip(one.shape, shaped.shape, strict=True)
    )
    if not fits:
        raise InputError.of(
            f"a sample has the shape {list(value.shape)}, and the input `{one.name}` takes {_told(one.shape)}",
            hint="the first dimension of the file counts the samples; the others are those of the input",
            place=place,
        )
    return shaped


def _told(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(d) if d != "" else "?" for d in shape) + "]"


def _fitted(value: Array, one: SampleInput, place: str, what: str) -> Array:
    shaped = np.ascontiguousarray(_shaped(value, one, place, what))
    if shaped.size == 0:
        raise InputError.of(f"a sample of `{one.name}` is empty", hint="leave it out", place=place)
    if shaped.dtype.kind == "f" and not np.isfinite(shaped).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(shaped))[0]]
        hint = "leave it out, or repair what made it"
        raise InputError.of(f"a sample of `{one.name}` is not finite at {index}", hint=hint, place=place)
    return shaped
