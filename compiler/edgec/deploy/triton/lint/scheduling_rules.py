"""Rules for batching, queues, versions, instances and metrics that Triton checks when it loads a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgec.deploy.triton.lint.config_file import ConfigFile, Finding
from edgec.deploy.triton.lint.places import Path

_AUTO, _GPU, _CPU, _MODEL = range(4)
_DELAY = 1


def scheduling_findings(config: ConfigFile, *, has_gpu: bool | None) -> Iterator[Finding]:
    """`has_gpu`: whether the device has a GPU that Triton can use; None when it is not known."""
    data = config.data
    if data.max_batch_size < 0:
        yield Finding(("max_batch_size",), "`max_batch_size` is below 0", "write 0 for tensors without a batch")
    if data.HasField("dynamic_batching"):
        yield from _dynamic_batching(data)
    if data.HasField("sequence_batching"):
        yield from _sequence_batching(data)
    if data.model_transaction_policy.decoupled and data.response_cache.enable:
        hint = "a decoupled model answers many times, which cannot be cached: remove `response_cache`"
        yield Finding(("response_cache",), "the response cache is on for a decoupled model", hint)
    if not data.HasField("ensemble_scheduling"):
        for number, group in enumerate(data.instance_group):
            yield from _instances(config, ("instance_group", number), group, has_gpu)
    for number, control in enumerate(data.model_metrics.metric_control):
        yield from _metric(("model_metrics", 0, "metric_control", number), control)


def _preferred(sizes: Any, max_batch_size: int, at: Path) -> Iterator[Finding]:
    for number, size in enumerate(sizes):
        if not 0 < size <= max_batch_size:
            hint = f"choose a size from 1 to `max_batch_size`, {max_batch_size}"
            yield Finding((*at, number), f"a preferred batch of {size} cannot be made", hint)


def _dynamic_batching(data: Any) -> Iterator[Finding]:
    batching = data.dynamic_batching
    yield from _preferred(
        batching.preferred_batch_size, data.max_batch_size, ("dynamic_batching", "preferred_batch_size")
    )
    levels = batching.priority_levels
    if levels and not 0 < batching.default_priority_level <= levels:
        at: Path = ("dynamic_batching", "default_priority_level")
        message = f"the default priority level is {batching.default_priority_level}, with {levels} levels"
        yield Finding(at, message, f"set `default_priority_level` from 1 to {levels}")
    for level in sorted(batching.priority_queue_policy):
        if levels and not 0 < level <= levels:
            message = f"a queue policy for priority level {level}, with {levels} levels"
            yield Finding(("dynamic_batching", "priority_queue_policy"), message, f"use a level from 1 to {levels}")
    if batching.preserve_ordering:
        yield from _ordered(batching)


def _ordered(batching: Any) -> Iterator[Finding]:
    at: Path = ("dynamic_batching", "preserve_ordering")
    if batching.priority_levels > 1:
        yield Finding(at, "requests cannot keep their order and have priorities", "remove one of the two")
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(p.default_timeout_microseconds and p.timeout_action == _DELAY for p in policies):
        hint = "set `timeout_action: REJECT`, or remove `preserve_ordering`"
        yield Finding(at, "requests cannot keep their order and be delayed when their time is up", hint)


def _sequence_batching(data: Any) -> Iterator[Finding]:
    batching = data.sequence_batching
    if data.response_cache.enable:
        hint = "an answer depends on the sequence before it: remove `response_cache`"
        yield Finding(("response_cache",), "the response cache is on with sequence batching", hint)
    at: Path = ("sequence_batching", "oldest", "preferred_batch_size")
    yield from _preferred(batching.oldest.preferred_batch_size, data.max_batch_size, at)
    if not 0 <= batching.direct.minimum_slot_utilization <= 1:
        path: Path = ("sequence_batching", "direct", "minimum_slot_utilization")
        yield Finding(path, "the slot utilization is not between 0 and 1", "it is a share: 0.5 is half of the slots")


def _instances(config: ConfigFile, at: Path, group: Any, has_gpu: bool | None) -> Iterator[Finding]:
    if group.count < 0:
        yield Finding((*at, "count"), "the number of instances is below 0", "write 1 or more")
    if group.gpus and group.kind in (_CPU, _MODEL):
        kind = "KIND_CPU" if group.kind == _CPU else "KIND_MODEL"
        yield Finding((*at, "gpus"), f"`gpus` with {kind}", "remove `gpus`, or set `kind: KIND_GPU`")
    if has_gpu is False and (group.kind == _GPU or (group.gpus and group.kind == _AUTO)):
        hint = "set `kind: KIND_CPU`; on Jetson, the python backend needs it too, GPU or not"
        yield Finding((*at, "kind"), "instances on a GPU, and the device has none that Triton can use", hint)
    if group.kind == _GPU and config.data.backend == "python" and has_gpu is not False:
        hint = "set `kind: KIND_CPU`; the model's code chooses its device itself"
        message = "KIND_GPU with the python backend, which fails on Jetson"
        yield Finding((*at, "kind"), message, hint)
    if group.profile and config.data.platform != "tensorrt_plan":
        yield Finding(
            (*at, "profile"), "`profile` is TensorRT's alone", 'remove it, or set `platform: "tensorrt_plan"`'
        )
    for number, profile in enumerate(group.profile):
        if not profile.isdecimal():
            yield Finding((*at, "profile", number), f"the profile `{profile}` is no number", "write 0 or more")


def _metric(at: Path, control: Any) -> Iterator[Finding]:
    if not control.metric_identifier.family:
        yield Finding(at, "a metric without its `family`", 'add `metric_identifier { family: "..." }`')
    if not control.histogram_options.buckets:
        yield Finding(at, "a metric without `buckets`", "add `histogram_options { buckets: [ ... ] }`")
