"""Rules for ensembles: their own configuration, the flow of tensors, and what their steps name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgec.deploy.triton.lint.config_file import ConfigFile, Finding
from edgec.deploy.triton.lint.places import Path
from edgec.deploy.triton.lint.tensor_rules import same_shape
from edgec.documents.wording import nearest

_PLATFORM = "ensemble"
_STEPS: Path = ("ensemble_scheduling", 0, "step")


def ensemble_findings(config: ConfigFile, others: Mapping[str, ConfigFile]) -> Iterator[Finding]:
    """`others`: every model of the repository that could be parsed, by name."""
    data = config.data
    is_ensemble = data.HasField("ensemble_scheduling")
    if is_ensemble != (data.platform == _PLATFORM):
        at: Path = ("ensemble_scheduling",) if is_ensemble else ("platform",)
        hint = 'an ensemble has both: `platform: "ensemble"` and `ensemble_scheduling { step ... }`'
        yield Finding(at, "half an ensemble", hint)
    if not is_ensemble:
        return
    for field in ("backend", "instance_group", "optimization", "model_warmup"):
        if getattr(data, field) if field != "optimization" else data.HasField(field):
            hint = "remove it here; the models of its steps have their own"
            yield Finding((field,), f"an ensemble has no `{field}`", hint)
    if not data.ensemble_scheduling.step:
        yield Finding(("ensemble_scheduling",), "the ensemble has no `step`", "add a step for each model")
    for number, step in enumerate(data.ensemble_scheduling.step):
        yield from _step(config, number, step, others)
    yield from _flow(data)
    yield from _types(config, others)


def _step(config: ConfigFile, number: int, step: Any, others: Mapping[str, ConfigFile]) -> Iterator[Finding]:
    at: Path = (*_STEPS, number)
    for field in ("model_name", "input_map", "output_map"):
        if not getattr(step, field):
            yield Finding(at, f"the step has no `{field}`", "add it")
    if not step.model_name:
        return
    model = others.get(step.model_name)
    if model is None:
        near = nearest(step.model_name, sorted(others))
        hint = f"did you mean `{near}`?" if near else "add the model's folder to this repository"
        yield Finding((*at, "model_name"), f"no model `{step.model_name}` in this repository", hint)
        return
    allowed = model.data.max_batch_size
    if 0 < allowed < config.data.max_batch_size:
        hint = f"set the ensemble's `max_batch_size` to {allowed} or less"
        yield Finding((*at, "model_name"), f"`{step.model_name}` takes batches of {allowed} at most", hint)
    for field, used in (("input", step.input_map), ("output", step.output_map)):
        has = {t.name: t for t in getattr(model.data, field)}
        for name in sorted(set(used) - set(has)):
            near = nearest(name, sorted(has))
            hint = f"did you mean `{near}`?" if near else f"name an {field} of `{step.model_name}`"
            yield Finding((*at, f"{field}_map"), f"`{step.model_name}` has no {field} `{name}`", hint)
        for name in sorted(set(has) - set(used)):
            if field == "input" and not has[name].optional:
                hint = f'add `input_map {{ key: "{name}" value: "..." }}`'
                yield Finding(at, f"nothing is mapped to the input `{name}` of `{step.model_name}`", hint)


def _flow(data: Any) -> Iterator[Finding]:
    """Every tensor is written once, and every one is used."""
    steps = data.ensemble_scheduling.step
    written: dict[str, Path] = {t.name: ("input", number) for number, t in enumerate(data.input)}
    for number, step in enumerate(steps):
        for tensor in sorted(step.output_map.values()):
            at: Path = (*_STEPS, number, "output_map")
            if tensor in written:
                yield Finding(at, f"the ensemble's tensor `{tensor}` is written twice", "give each its own name")
            written.setdefault(tensor, at)
    outputs = {t.name for t in data.output}
    used = {tensor for step in steps for tensor in step.input_map.values()} | outputs
    for number, step in enumerate(steps):
        for tensor in sorted(set(step.input_map.values()) - set(written)):
            hint = "map it to an input of the ensemble or an output of another step"
            yield Finding((*_STEPS, number, "input_map"), f"nothing writes the ensemble's tensor `{tensor}`", hint)
    for number, tensor in enumerate(data.output):
        if tensor.name not in written:
            hint = "name it in a step's `output_map`"
            yield Finding(("output", number), f"nothing writes the ensemble's output `{tensor.name}`", hint)
    for tensor in sorted(set(written) - used):
        yield Finding(
            written[tensor], f"nothing uses the ensemble's tensor `{tensor}`", "remove it, or map it to a step"
        )
    yield from _circle(data, set(written))


def _circle(data: Any, written: set[str]) -> Iterator[Finding]:
    """A step runs when its inputs are there; in a circle, none ever is."""
    ready = {t.name for t in data.input}
    waiting = list(enumerate(data.ensemble_scheduling.step))
    while runs := [(n, s) for n, s in waiting if {v for v in s.input_map.values() if v in written} <= ready]:
        ready |= {tensor for _, step in runs for tensor in step.output_map.values()}
        waiting = [(n, s) for n, s in waiting if (n, s) not in runs]
    for number, step in waiting:
        hint = "let one of the steps take its tensors from before the circle"
        yield Finding((*_STEPS, number), f"the step `{step.model_name}` waits for itself", hint)


def _types(config: ConfigFile, others: Mapping[str, ConfigFile]) -> Iterator[Finding]:
    """One tensor has one type and one shape, whichever model reads or writes it."""
    known: dict[str, tuple[str, Any]] = {}
    for tensor in (*config.data.input, *config.data.output):
        known.setdefault(tensor.name, ("the ensemble", tensor))
    for number, step in enumerate(config.data.ensemble_scheduling.step):
        model = others.get(step.model_name)
        if model is None:
            continue
        for field, mapped in (("input", step.input_map), ("output", step.output_map)):
            has = {t.name: t for t in getattr(model.data, field)}
            for name, tensor_name in sorted(mapped.items()):
                if name not in has:
                    continue
                owner, first = known.setdefault(tensor_name, (f"`{step.model_name}`", has[name]))
                at: Path = (*_STEPS, number, f"{field}_map")
                yield from _differs(at, tensor_name, (owner, first), (f"`{step.model_name}`", has[name]))


def _differs(at: Path, name: str, left: tuple[str, Any], right: tuple[str, Any]) -> Iterator[Finding]:
    values = left[1].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    if left[1].data_type != right[1].data_type:
        types = [f"{values[tensor.data_type].name} in {owner}" for owner, tensor in (left, right)]
        yield Finding(at, f"the tensor `{name}` is {types[0]} and {types[1]}", "give both sides one type")
    elif not same_shape(left[1].dims, right[1].dims):
        shapes = [f"{list(tensor.dims)} in {owner}" for owner, tensor in (left, right)]
        yield Finding(at, f"the tensor `{name}` is {shapes[0]} and {shapes[1]}", "give both sides one shape")
