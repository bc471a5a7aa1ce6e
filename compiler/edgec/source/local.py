"""A checkpoint in a local folder. Rule: only headers and small files are read here, and nothing is ever written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgec.documents.canonical import sha256_bytes, sha256_file
from edgec.errors import InputError
from edgec.source.layout import (
    CONFIG,
    INDEX,
    MAX_INDEX_BYTES,
    SINGLE,
    join_shards,
    model_card_licence,
    parse_index,
    parse_object,
    small_file_limit,
    weights_of,
)
from edgec.source.model import Checkpoint, CheckpointHeader, SourceFile, SourceIdentity, TensorInfo
from edgec.source.place import placed_in
from edgec.source.quantization import MODELOPT_CONFIG, parse_quantization
from edgec.source.safetensors import LFS_POINTER, read_header


def open_local(
    folder: Path, *, licence: str | None = None, digest_file: Callable[[Path], str] = sha256_file
) -> Checkpoint:
    """Check the checkpoint in `folder` and read everything of it but the weights.

    `licence`: what the recipe says; without it the model card's. `digest_file` gives `sha256:<hex>` of a file (pass a
    cached one: it is called for the weights; small files are hashed as they were read). Raises InputError, naming file
    and tensor.
    """
    with placed_in(str(folder)):
        return _opened(folder, licence, digest_file)


def _opened(folder: Path, licence: str | None, digest_file: Callable[[Path], str]) -> Checkpoint:
    names = _names(folder)
    if CONFIG not in names:
        raise InputError.of(
            f"{CONFIG} is missing", hint="give the folder of a complete Hugging Face checkpoint", place=str(folder)
        )
    files = {name: read_small_file(folder / name, name) for name in names if small_file_limit(name) is not None}
    config = parse_object(files[CONFIG], CONFIG)
    quantization = parse_quantization(config, files.get(MODELOPT_CONFIG))
    tensors, used = _read_tensors(folder, names, integers=quantization is not None)
    identity = SourceIdentity(
        uri=f"file:{folder.resolve().name}",
        revision=None,
        licence=licence or model_card_licence(files.get("README.md")),
        files=tuple(
            SourceFile(name=n, size_bytes=len(files[n]), digest=sha256_bytes(files[n]))
            if n in files
            else SourceFile(name=n, size_bytes=(folder / n).stat().st_size, digest=digest_file(folder / n))
            for n in sorted({*files, *used})
        ),
    )
    return Checkpoint(
        header=CheckpointHeader(
            config=config, tensors=tensors, files=files, identity=identity, quantization=quantization
        ),
        root=folder,
    )


def read_small_file(path: Path, name: str, limit_bytes: int | None = None) -> bytes:
    """The content of a small file, at most the size its name allows. Raises InputError."""
    limit = limit_bytes or small_file_limit(name) or 0
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise InputError.of(
            f"cannot be read: {error.strerror}", hint="check that you may read it", place=str(path)
        ) from error
    if len(data) > limit:
        raise InputError.of(
            f"is larger than {limit} bytes, which no such file is", hint="check the checkpoint", place=str(path)
        )
    if data.startswith(LFS_POINTER):
        raise InputError.of(
            "is a git-LFS pointer, not the file itself",
            hint="run `git lfs install && git lfs pull` in the folder",
            place=str(path),
        )
    return data


def _names(folder: Path) -> list[str]:
    """Names of the files in `folder`, and of those one level deeper that are on the allow-list; sorted."""
    try:
        entries = sorted(p.name for p in folder.iterdir() if p.is_file())
    except OSError as error:
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError.of(
            what, hint="give the folder of a Hugging Face checkpoint, with config.json in it", place=str(folder)
        ) from error
    if not entries:
        raise InputError.of("the folder is empty", hint="give the folder of a checkpoint", place=str(folder))
    deeper = [n for n in ("1_Pooling/config.json",) if (folder / n).is_file()]
    return sorted([*entries, *deeper])


def _read_tensors(folder: Path, names: list[str], *, integers: bool) -> tuple[dict[str, TensorInfo], list[str]]:
    """The tensors, and the names of the files that describe and hold them. `integers`: see `parse_header`."""
    if weights_of(names, str(folder)) == SINGLE:
        return read_header(folder / SINGLE, file=SINGLE, integers=integers), [SINGLE]
    weight_map = parse_index(read_small_file(folder / INDEX, INDEX, MAX_INDEX_BYTES))
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if shard not in names:
            tensor = min(t for t, file in weight_map.items() if file == shard)
            raise InputError.of(
                f"the shard is missing (it holds tensor '{tensor}' and others)",
                hint="fetch the whole checkpoint again",
                place=str(folder / shard),
            )
    headers = {shard: read_header(folder / shard, file=shard, integers=integers) for shard in shards}
    return join_shards(weight_map, headers), [INDEX, *shards]
