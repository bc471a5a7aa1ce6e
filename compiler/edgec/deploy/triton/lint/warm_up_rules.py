"""Rules for warm-up requests, which Triton builds when it loads a model and runs past its own checks of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgec.deploy.triton.lint.config_file import ConfigFile, Finding
from edgec.deploy.triton.lint.places import Path
from edgec.deploy.triton.lint.tensor_rules import same_shape

FOLDER = "warmup"


def warm_up_findings(config: ConfigFile, files: frozenset[str]) -> Iterator[Finding]:
    """`files`: paths relative to the model's folder."""
    inputs = {t.name: t for t in config.data.input}
    for number, request in enumerate(config.data.model_warmup):
        at: Path = ("model_warmup", number)
        if request.batch_size > max(1, config.data.max_batch_size):
            hint = f"use at most `max_batch_size`, {config.data.max_batch_size}"
            yield Finding((*at, "batch_size"), f"the warm-up sends a batch of {request.batch_size}", hint)
        for name in sorted(set(inputs) - set(request.inputs)):
            if not inputs[name].optional:
                yield Finding(at, f"the warm-up has no input `{name}`", "add it to the warm-up's `inputs`")
        for order, name in enumerate(_written(config, number, request)):
            yield from _input((*at, "inputs", order), name, request.inputs[name], inputs.get(name), files)


def _written(config: ConfigFile, number: int, request: Any) -> list[str]:
    """The inputs in the order of the text, in which their places are numbered; a message's map has none."""
    keys: dict[int, str] = {}
    for path, span in config.places.items():
        if path[:3] == ("model_warmup", number, "inputs") and path[4:5] == ("key",):
            keys[int(path[3])] = span.source_line[span.column : span.column + span.length - 2]
    written = [keys[order] for order in sorted(keys)]
    return written if sorted(written) == sorted(request.inputs) else sorted(request.inputs)


def _input(at: Path, name: str, given: Any, declared: Any, files: frozenset[str]) -> Iterator[Finding]:
    kind = given.WhichOneof("input_data_type")
    if declared is None:
        yield Finding(at, f"the warm-up has an input `{name}` that the model has not", "name an input of this model")
        return
    if given.data_type != declared.data_type:
        hint = "write the data type of the model's input"
        yield Finding((*at, "value", 0, "data_type"), f"the warm-up's `{name}` has another data type", hint)
    if any(dim < 1 for dim in given.dims):
        hint = "a request has a size: write it out"
        yield Finding((*at, "value", 0, "dims"), f"the warm-up's `{name}` has a dimension of any size", hint)
    elif not same_shape(given.dims, declared.dims):
        message = f"the warm-up's `{name}` is {list(given.dims)}, the model takes {list(declared.dims)}"
        yield Finding((*at, "value", 0, "dims"), message, "leave the batch dimension out")
    if kind is None:
        hint = "add `zero_data: true`, `random_data: true` or `input_data_file`"
        yield Finding(at, f"the warm-up's `{name}` has no data", hint)
    elif kind == "input_data_file" and f"{FOLDER}/{given.input_data_file}" not in files:
        path = f"{FOLDER}/{given.input_data_file}"
        yield Finding(
            (*at, "value", 0, kind), f"no file `{path}` beside config.pbtxt", f"put the input's bytes in {path}"
        )
