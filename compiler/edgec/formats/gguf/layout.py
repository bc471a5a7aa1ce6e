"""The exact bytes of every file of a GGUF, before a weight is read: types, offsets, headers, sizes, shards.

Rule: a layout is a pure function of what is known from headers; compiling only fills in the tensor data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgec.documents.canonical import sha256_bytes, sha256_json
from edgec.errors import InputError
from edgec.formats.gguf.header import TensorEntry, align, pack_header
from edgec.formats.gguf.model import KeyValue, MappedModel, TensorMapping, ValueType, Vocabulary
from edgec.formats.gguf.policy import SOURCE_SCHEME, assign_types
from edgec.formats.gguf.shards import split_metadata, split_tensors
from edgec.formats.gguf.types import SCHEMES, TensorType
from edgec.source.model import DType, TensorInfo

# GGML_QNT_VERSION: the version of the block formats.
_QUANTIZATION_VERSION = 2
_FILE_TYPES = {DType.F32: "f32", DType.F16: "f16", DType.BF16: "bf16"}


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the output. `offset` counts from the start of its file; `source` is None for a computed tensor."""

    mapping: TensorMapping
    type: TensorType
    source: TensorInfo | None
    file: str
    offset: int
    nbytes: int

    @property
    def name(self) -> str:
        """The tensor's GGUF name."""
        return self.mapping.name

    @property
    def columns(self) -> int:
        """Elements of one row."""
        return self.mapping.columns

    @property
    def rows(self) -> int:
        """Number of rows; a vector is one row."""
        return self.mapping.height

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.rows * self.columns


@dataclass(frozen=True)
class FilePlan:
    """One file of the output: its header and its size in bytes."""

    name: str
    header: bytes
    size_bytes: int


@dataclass(frozen=True)
class GgufLayout:
    """Everything about the output but the weights. `tensors` are in file order."""

    scheme: str
    files: tuple[FilePlan, ...]
    tensors: tuple[TensorPlan, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together; exact."""
        return sum(f.size_bytes for f in self.files)

    @cached_property
    def bytes_by_type(self) -> dict[str, int]:
        """Tensor bytes per tensor type, by the type's name."""
        count: Counter[str] = Counter()
        for tensor in self.tensors:
            count[tensor.type.label] += tensor.nbytes
        return dict(sorted(count.items()))

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` over all the output's bytes depend on besides weights and importance matrix."""
        tensors = [
            [t.file, t.offset, t.type.label, *_mapping_facts(t.mapping), *_source_facts(t.source)] for t in self.tensors
        ]
        return sha256_json({"headers": [sha256_bytes(f.header) for f in self.files], "tensors": tensors})


def _mapping_facts(mapping: TensorMapping) -> list[Any]:
    return [mapping.name, mapping.shape, mapping.rows, mapping.unpermute_heads, mapping.add, mapping.constant]


def _source_facts(source: TensorInfo | None) -> list[Any]:
    return [] if source is None else [source.name, source.dtype, source.shape, source.file, source.offset]


def plan_layout(
    mapped: MappedModel,
    vocabulary: Vocabulary,
    source_tensors: Mapping[str, TensorInfo],
    *,
    scheme: str,
    has_imatrix: bool = False,
    overrides: Sequence[tuple[str, str]] = (),
    shard_size_bytes: int | None = None,
    name: str = "model",
    extra_metadata: Sequence[KeyValue] = (),
) -> GgufLayout:
    """Plan the files `<name>.gguf`, or `<name>-00001-of-00003.gguf` and so on with `shard_size_bytes`.

    `scheme`: a recipe's scheme or `source`. `extra_metadata` stands after the model's and the vocabulary's.
    Raises InputError when a tensor's source is missing or has another shape, or a tensor is larger than a shard.
    """
    types = assign_types(
        mapped,
        scheme,
        has_imatrix=has_imatrix,
        overrides=overrides,
        source_dtypes={n: t.dtype for n, t in source_tensors.items()},
    )
    by_name = {t.name: t for t in mapped.tensors}
    drafts = [_draft(by_name[n], tensor_type, source_tensors) for n, tensor_type in types.items()]
    metadata = (
        *mapped.metadata,
        *vocabulary.metadata,
        *extra_metadata,
        KeyValue("general.quantization_version", ValueType.UINT32, _QUANTIZATION_VERSION),
        KeyValue("general.file_type", ValueType.UINT32, _file_type(scheme, mapped, source_tensors)),
    )
    return _place(drafts, metadata, scheme, shard_size_bytes, name)


def _file_type(scheme: str, mapped: MappedModel, sources: Mapping[str, TensorInfo]) -> int:
    if scheme != SOURCE_SCHEME:
        return SCHEMES[scheme].file_type
    count: Counter[DType] = Counter()
    for tensor in mapped.tensors:
        if tensor.source is not None:
            count[sources[tensor.source].dtype] += sources[tensor.source].elements
    return SCHEMES[_FILE_TYPES[count.most_common(1)[0][0]]].file_type


def _draft(mapping: TensorMapping, tensor_type: TensorType, sources: Mapping[str, TensorInfo]) -> TensorPlan:
    """`mapping` with its type and source, checked, not yet placed in a file."""
    draft = TensorPlan(mapping, tensor_type, None, "", 0, 0)
    nbytes = draft.rows * tensor_type.row_bytes(draft.columns)
    if mapping.source is None:
        if mapping.constant is None or len(mapping.constant) != draft.elements:
            raise ValueError(f"{mapping.name}: a computed tensor needs one constant per element")
        return TensorPlan(mapping, tensor_type, None, "", 0, nbytes)
    source = sources.get(mapping.source)
    if source is None:
        raise InputError.of(
            f"the checkpoint has no tensor {mapping.source!r}, which {mapping.name} is made from",
            hint="check that all weight files were downloaded and that config.json belongs to them",
        )
    columns = source.shape[-1] if source.shape else 1
    enough = source.elements >= draft.elements if mapping.rows is not None else source.elements == draft.elements
    if columns != draft.columns or not enough:
        raise InputError.of(
            f"the shape {list(source.shape)} of {mapping.source!r} does not fit config.json, "
            f"which makes {mapping.name} {list(mapping.shape)}",
            place=f"{source.file}: tensor {source.name!r}",
            hint="check that config.json belongs to these weights",
        )
    return TensorPlan(mapping, tensor_type, source, "", 0, nbytes)


def _place(
    drafts: Sequence[TensorPlan], metadata: Sequence[KeyValue], scheme: str, shard_size: int | None, name: str
) -> GgufLayout:
    """Give every tensor its file and offset, and every file its header."""

    def header_of(part: Sequence[TensorPlan], index: int, count: int) -> bytes:
        own = metadata if index == 0 else ()
        split = split_metadata(index, count, len(drafts)) if count > 1 else ()
        return pack_header((*own, *split), _entries(part))

    groups = split_tensors(drafts, header_of, shard_size)
    files: list[FilePlan] = []
    placed: list[TensorPlan] = []
    for index, group in enumerate(groups):
        file = f"{name}.gguf" if len(groups) == 1 else f"{name}-{index + 1:05d}-of-{len(groups):05d}.gguf"
        header = header_of(group, index, len(groups))
        for tensor, entry in zip(group, _entries(group), strict=True):
            offset = len(header) + entry.offset
            placed.append(TensorPlan(tensor.mapping, tensor.type, tensor.source, file, offset, tensor.nbytes))
        files.append(FilePlan(file, header, len(header) + sum(align(t.nbytes) for t in group)))
    return GgufLayout(scheme, tuple(files), tuple(placed))


def _entries(tensors: Sequence[TensorPlan]) -> list[TensorEntry]:
    entries: list[TensorEntry] = []
    offset = 0
    for tensor in tensors:
        entries.append(TensorEntry(tensor.name, tensor.mapping.shape, tensor.type.ggml_id, offset))
        offset += align(tensor.nbytes)
    return entries
