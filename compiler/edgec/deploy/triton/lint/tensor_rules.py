"""Rules for inputs and outputs that Triton checks when it loads a model, and the parser does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgec.deploy.triton.lint.config_file import ConfigFile, Finding
from edgec.deploy.triton.lint.places import Path

_TENSORRT = "tensorrt_plan"


def tensor_findings(config: ConfigFile) -> Iterator[Finding]:
    """Names, types, shapes and batch inputs and outputs."""
    for field in ("input", "output"):
        seen: set[str] = set()
        for number, tensor in enumerate(getattr(config.data, field)):
            at: Path = (field, number)
            yield from _name(field, at, tensor.name, seen)
            yield from _type_and_shape(config, field, at, tensor)
            yield from _only_for_tensorrt(config, field, at, tensor)
    yield from _batch_tensors(config)


def _name(field: str, at: Path, name: str, seen: set[str]) -> Iterator[Finding]:
    if not name:
        yield Finding(at, f"the {field} has no `name`", 'add `name: "..."`')
    elif name in seen:
        yield Finding((*at, "name"), f"a second {field} is called `{name}`", "give each its own name, or remove one")
    seen.add(name)


def _type_and_shape(config: ConfigFile, field: str, at: Path, tensor: Any) -> Iterator[Finding]:
    what = f"the {field} `{tensor.name}`"
    if tensor.data_type == 0:
        yield Finding(at, f"{what} has no `data_type`", "add it, for example `data_type: TYPE_FP32`")
    if not tensor.dims:
        yield Finding(at, f"{what} has no `dims`", "add them without the batch dimension, for example `dims: [ 1 ]`")
    for place, dims in (("dims", tensor.dims), ("reshape", tensor.reshape.shape)):
        for number, dim in enumerate(dims):
            if dim < 1 and dim != -1:
                path = (*at, "dims", number) if place == "dims" else (*at, "reshape", "shape", number)
                yield Finding(path, f"{what} has a dimension of {dim}", "write 1 or more, or -1 for any size")
    if tensor.HasField("reshape"):
        yield from _reshape(config, what, at, tensor)
    if field == "input" and tensor.format != 0 and len(tensor.dims) != 3:
        hint = "give 3 dimensions without the batch, or remove `format`"
        yield Finding((*at, "format"), f"{what} has a format of images and {len(tensor.dims)} dimensions", hint)


def _reshape(config: ConfigFile, what: str, at: Path, tensor: Any) -> Iterator[Finding]:
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    path = (*at, "reshape")
    if not shape and config.data.max_batch_size == 0:
        hint = "a model without a batch dimension has no scalars: remove `reshape`, or set `max_batch_size`"
        yield Finding(path, f"{what} is reshaped to nothing", hint)
    elif _fixed_parts(dims) != _fixed_parts(shape):
        hint = "between the -1s, both must have the same number of elements"
        yield Finding(path, f"{what} cannot be reshaped from {dims} to {shape}", hint)


def _fixed_parts(dims: Iterable[int]) -> list[int]:
    """Elements between the dimensions of any size: `[2, 4, -1, 6]` and `[8, -1, 1, 6]` agree."""
    parts = [1]
    for dim in dims:
        if dim == -1:
            parts.append(1)
        else:
            parts[-1] *= dim
    return parts


def _only_for_tensorrt(config: ConfigFile, field: str, at: Path, tensor: Any) -> Iterator[Finding]:
    for flag in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, flag) and config.data.platform != _TENSORRT:
            hint = f'remove it, or set `platform: "{_TENSORRT}"`'
            yield Finding((*at, flag), f"the {field} `{tensor.name}` has `{flag}`, which is TensorRT's alone", hint)


def _batch_tensors(config: ConfigFile) -> Iterator[Finding]:
    inputs = {t.name for t in config.data.input}
    outputs = {t.name for t in config.data.output}
    for field in ("batch_input", "batch_output"):
        for number, tensor in enumerate(getattr(config.data, field)):
            at: Path = (field, number)
            if len(tensor.source_input) != 1:
                message = f"a `{field}` needs one `source_input`, this has {len(tensor.source_input)}"
                yield Finding(at, message, "name the one input that it is computed from")
            for index, source in enumerate(tensor.source_input):
                if source not in inputs:
                    yield Finding((*at, "source_input", index), f"no input `{source}`", "name an input of this model")
    for number, tensor in enumerate(config.data.batch_input):
        if tensor.data_type not in _batch_types(tensor):
            hint = "use TYPE_INT32 or TYPE_FP32"
            yield Finding(("batch_input", number), "a `batch_input` has another data type than INT32 or FP32", hint)
    for number, tensor in enumerate(config.data.batch_output):
        for index, target in enumerate(tensor.target_name):
            if target not in outputs:
                at = ("batch_output", number, "target_name", index)
                yield Finding(at, f"no output `{target}`", "name an output of this model")


def _batch_types(tensor: Any) -> tuple[int, int]:
    values = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name
    return values["TYPE_INT32"].number, values["TYPE_FP32"].number


def same_shape(left: Iterable[int], right: Iterable[int]) -> bool:
    """Whether two shapes can be one tensor's: -1 is any size."""
    left, right = list(left), list(right)
    return len(left) == len(right) and all(a == b or -1 in (a, b) for a, b in zip(left, right, strict=True))
