"""The number to change so that a model fits: computed, never guessed.

Rule: the cheapest change for the user comes first: the context, then the batch, then the scheme, then the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgec.formats.gguf.types import TensorType
from edgec.target.model import Target

_MIB = 2**20
_CONTEXT_STEP = 256
# A shorter context than this is not offered: a chat template and one question need more.
_SMALLEST_CONTEXT = 512
# Bits per weight of a whole file, from llama.cpp's tools/quantize/README.md (Llama 3.1 8B), largest first.
_BITS_PER_WEIGHT = {
    "q8_0": 8.5008, "q6_k": 6.5633, "q5_k_m": 5.7036, "q5_k_s": 5.5704, "q4_k_m": 4.8944, "q4_k_s": 4.6672,
    "iq4_xs": 4.4597, "q3_k_m": 3.9960, "q2_k": 3.1593,
    # Engines: of the layers, with a scale per row or per group of 128.
    "int8_wo": 8.01, "int8_sq": 8.01, "int4_awq": 4.125,
}  # fmt: skip
# Bits of an element in the files of engines, whose scales are tensors of their own.
_ENGINE_BITS = {"i8": 8, "i4": 4}


class Need(Protocol):
    """Bytes a model needs, as functions of context and batch."""

    @property
    def weights_bytes(self) -> int: ...
    def kv_bytes(self, context: int, batch: int) -> int: ...
    def compute_bytes(self, context: int) -> int: ...
    def total_bytes(self, context: int, batch: int) -> int: ...


@dataclass(frozen=True)
class Limits:
    """Limits of the platform on one allocation and one file. `can_shard`: whether the format allows several files."""

    target: Target
    largest_tensor_bytes: int
    largest_file_bytes: int
    can_shard: bool = True

    def broken(self, kv_bytes: int, compute_bytes: int) -> str | None:
        """What to do about the first limit that is broken, or None."""
        return self.file() or self.allocation(kv_bytes, compute_bytes)

    def file(self) -> str | None:
        """What to do about a file that is too large, or None."""
        storage = self.target.storage
        if storage.max_file_mib is None or self.largest_file_bytes <= storage.max_file_mib * _MIB:
            return None
        shard = storage.shard_mib or storage.max_file_mib
        file_mib = self.largest_file_bytes / _MIB
        if not self.can_shard:
            return (
                f"choose a scheme with fewer bits, or a smaller model: it is one file of {file_mib:.0f} MiB, over the "
                f"{storage.max_file_mib} MiB that {self.target.title} can hold"
            )
        return (
            f"set `shard_size_mib: {shard}` on the artifact: a file of {file_mib:.0f} MiB is over the "
            f"{storage.max_file_mib} MiB that {self.target.title} can hold"
        )

    def allocation(self, kv_bytes: int, compute_bytes: int) -> str | None:
        """What to do about an allocation that is too large, or None."""
        limit = self.target.memory.max_allocation_mib
        parts = (
            ("the largest tensor", self.largest_tensor_bytes, "give it a smaller type with `overrides`"),
            ("the KV cache", kv_bytes, "lower `context` or `batch`"),
            ("the compute buffer", compute_bytes, "choose a model with a smaller vocabulary"),
        )
        for name, size, action in parts:
            if limit is not None and size > limit * _MIB:
                return f"{action}: {name} needs {size / _MIB:.0f} MiB at once, the largest allocation is {limit} MiB"
        return None


def advise(
    need: Need,
    limits: Limits,
    *,
    schemes: Sequence[str],
    bytes_by_type: Mapping[str, int],
    context: int,
    batch: int,
    budget_bytes: int,
) -> str | None:
    """What to change so that the model needs at most `budget_bytes` within `limits`; None when it does already."""
    memory = _memory_advice(
        need, limits, schemes=schemes, bytes_by_type=bytes_by_type, context=context, batch=batch,
        budget_bytes=budget_bytes,
    )  # fmt: skip
    wishes = [wish for wish in (memory, limits.file()) if wish is not None]
    return "; and ".join(wishes) or None


def _memory_advice(
    need: Need,
    limits: Limits,
    *,
    schemes: Sequence[str],
    bytes_by_type: Mapping[str, int],
    context: int,
    batch: int,
    budget_bytes: int,
) -> str | None:
    broken = limits.allocation(need.kv_bytes(context, batch), need.compute_bytes(context))
    if need.total_bytes(context, batch) <= budget_bytes and broken is None:
        return None
    shorter = _largest_context(need, limits, context, batch, budget_bytes)
    if shorter is not None:
        return f"set `context: {shorter}` (now {context}): the largest that fits with a tenth of the memory free"
    if batch > 1 and (fewer := _smaller_batch(need, limits, context, batch, budget_bytes)) is not None:
        return fewer
    if broken is not None and not _shorter_context_helps(need, limits, context, batch):
        return broken
    room = budget_bytes - need.total_bytes(context, batch) + need.weights_bytes
    scheme = _smaller_scheme(room, need.weights_bytes, schemes, bytes_by_type)
    return scheme or _larger_device(need, limits, context, batch)


def _shorter_context_helps(need: Need, limits: Limits, context: int, batch: int) -> bool:
    small = min(context, _SMALLEST_CONTEXT)
    return limits.allocation(need.kv_bytes(small, batch), need.compute_bytes(small)) is None


def _fits(need: Need, limits: Limits, context: int, batch: int, budget_bytes: int) -> bool:
    allowed = limits.allocation(need.kv_bytes(context, batch), need.compute_bytes(context)) is None
    return allowed and need.total_bytes(context, batch) <= budget_bytes


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """The largest of `low` to `high` that fits; the need grows with the number, so halving finds it."""
    if high < low or not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _largest_context(need: Need, limits: Limits, context: int, batch: int, budget_bytes: int) -> int | None:
    """The largest multiple of 256 up to `context` that fits."""
    steps = _largest(
        _SMALLEST_CONTEXT // _CONTEXT_STEP,
        context // _CONTEXT_STEP,
        lambda n: _fits(need, limits, n * _CONTEXT_STEP, batch, budget_bytes),
    )
    return None if steps is None else steps * _CONTEXT_STEP


def _smaller_batch(need: Need, limits: Limits, context: int, batch: int, budget_bytes: int) -> str | None:
    """The largest batch that fits, or one sequence of a shorter context."""
    fewer = _largest(1, batch - 1, lambda n: _fits(need, limits, context, n, budget_bytes))
    if fewer is not None:
        return f"set `batch: {fewer}` (now {batch}): the largest that fits with a tenth of the memory free"
    single = _largest_context(need, limits, context, 1, budget_bytes)
    return None if single is None else f"set `batch: 1` (now {batch}) and `context: {single}` (now {context})"


def _smaller_scheme(
    room_bytes: int, weights_bytes: int, schemes: Sequence[str], bytes_by_type: Mapping[str, int]
) -> str | None:
    elements = _elements(bytes_by_type)
    if elements is None:
        return None
    for scheme, bits in _BITS_PER_WEIGHT.items():
        size = elements * bits / 8
        if scheme in schemes and size <= room_bytes and size < weights_bytes:
            return (
                f"set `scheme: {scheme}`: about {size / _MIB:.0f} MiB of weights instead of {weights_bytes / _MIB:.0f}"
            )
    return None


def _elements(bytes_by_type: Mapping[str, int]) -> int | None:
    """Weights in the model; None when a type is not known."""
    total = 0
    for name, size in bytes_by_type.items():
        if name in _ENGINE_BITS:
            total += size * 8 // _ENGINE_BITS[name]
            continue
        try:
            block = TensorType.of_label(name)
        except KeyError:
            return None
        total += size * block.block_elements // block.block_bytes
    return total


def _larger_device(need: Need, limits: Limits, context: int, batch: int) -> str:
    memory = limits.target.memory
    total_mib = need.total_bytes(context, batch) / _MIB / 0.9 + memory.os_reserve_mib
    return (
        f"choose a smaller model or a device with at least {total_mib / 1024:.1f} GiB of memory, a tenth to spare: "
        f"no scheme of this runtime fits {limits.target.title} at context {context}"
    )
