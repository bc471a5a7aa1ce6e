"""A model in an .onnx file of the user's own, with the files of its tensors beside it.

Rules: only the graph is read here, and nothing is ever written; every tensor must be whole before anything runs. A
tensor's file lies in the model's folder or below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from edgec.documents.canonical import sha256_file
from edgec.errors import EdgecError, InputError
from edgec.source.model import Checkpoint, CheckpointHeader, GraphFile, SourceFile, SourceIdentity
from edgec.source.onnx_file import read_onnx
from edgec.source.onnx_graph import Initializer, OnnxGraph
from edgec.source.safetensors import LFS_POINTER

ENDING = ".onnx"
_AGAIN = "copy or export the file again; the model and the files of its tensors belong together"


def is_graph(path: str) -> bool:
    """Whether a recipe's `source.path` names a model in one file, not a checkpoint's folder."""
    return path.lower().endswith(ENDING)


def open_onnx(
    path: Path, *, licence: str | None = None, digest_file: Callable[[Path], str] = sha256_file
) -> Checkpoint:
    """Checks the model in `path` and reads everything of it but its weights.

    `digest_file` gives `sha256:<hex>` of a file. Raises InputError, naming file and tensor.
    """
    graph = _read(path)
    tensors = [*graph.initializers.values(), *graph.inner_tensors]
    names = [path.name, *sorted(_data_files(path, tensors))]
    _require_whole(path, [t for t in tensors if not t.location])
    identity = SourceIdentity(
        uri=f"file:{path.name}",
        revision=None,
        licence=licence,
        files=tuple(SourceFile(n, (path.parent / n).stat().st_size, digest_file(path.parent / n)) for n in names),
    )
    file = GraphFile(path.name, path.stat().st_size, graph)
    return Checkpoint(CheckpointHeader(config={}, tensors={}, files={}, identity=identity, graph=file), path.parent)


def _read(path: Path) -> OnnxGraph:
    try:
        with path.open("rb") as stream:
            start = stream.read(len(LFS_POINTER))
    except OSError as error:
        raise InputError.of(f"cannot be read: {error.strerror}", hint="check the path", place=str(path)) from error
    if start == LFS_POINTER:
        hint = "run `git lfs install && git lfs pull` in the folder"
        raise InputError.of("is a git-LFS pointer, not the file itself", hint=hint, place=str(path))
    if not start:
        raise InputError.of("the file is empty", hint=_AGAIN, place=str(path))
    graph = read_onnx(path, _damaged, with_data=False)
    if not graph.nodes or not graph.outputs or not graph.opsets:
        raise _damaged("holds no graph: it is cut off, or no ONNX model", path)
    return graph


def _damaged(what: str, path: Path) -> EdgecError:
    return InputError.of(f"the ONNX model is damaged: {what}", hint=_AGAIN, place=str(path))


def _require_whole(path: Path, tensors: Iterable[Initializer]) -> None:
    for tensor in tensors:
        if tensor.whole_bytes is not None and tensor.nbytes != tensor.whole_bytes:
            raise _damaged(
                f"the tensor '{tensor.name}' has {tensor.nbytes} bytes, and its shape asks for {tensor.whole_bytes}",
                path,
            )


def _data_files(path: Path, tensors: Iterable[Initializer]) -> set[str]:
    """Names of the files beside the model that hold tensors. Raises InputError: missing, elsewhere, or too short."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if not tensor.location:
            continue
        name = PurePosixPath(tensor.location)
        if name.is_absolute() or ".." in name.parts:
            raise _damaged(f"the tensor '{tensor.name}' lies in {tensor.location!r}, outside the model's folder", path)
        file = path.parent / name
        if tensor.location not in sizes:
            sizes[tensor.location] = _size(file, tensor, path)
        needed = tensor.whole_bytes or tensor.nbytes
        end = tensor.offset + needed
        if tensor.nbytes != needed or tensor.offset < 0 or end > sizes[tensor.location]:
            raise InputError.of(
                f"the file of the tensor '{tensor.name}' is too short: it has {sizes[tensor.location]} bytes, and the "
                f"tensor ends at {end}",
                hint=_AGAIN,
                place=str(file),
            )
    return set(sizes)


def _size(file: Path, tensor: Initializer, model: Path) -> int:
    if not file.is_file():
        raise InputError.of(
            f"the file of the tensor '{tensor.name}' is missing",
            hint=f"{model.name} keeps its tensors in {tensor.location}: put it beside the model",
            place=str(file),
        )
    return file.stat().st_size
