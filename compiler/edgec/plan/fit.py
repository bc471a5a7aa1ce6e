"""Whether a model fits a device: memory by part, the verdict, and disk for it.

Rule: every part is counted once. Weights that the runtime repacks are anonymous memory instead of pages of the
file; the file's pages of them can be dropped, so they are moved between items and never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from edgec.plan.fit_advice import Limits, advise
from edgec.plan.kv_cache import KvShape, kv_cache_bytes
from edgec.plan.model import DiskNeed, Fit, MemoryItem
from edgec.target.model import Runtime, Target

MIB = 2**20
# Share of the available memory that stays free for a model that `fits`.
MARGIN = 0.10
_FLOAT_BYTES = 4
_MASK_BYTES = 2
_WEIGHTS = {
    "mapped": ("weights, mapped from the file", "clean pages of the file, shared by processes"),
    "heap": ("weights, in the heap", "read from the file into the runtime's own memory"),
    "device": ("weights, on the accelerator", "copied to its memory; the file's pages can be dropped"),
}


class FitShape(KvShape, Protocol):
    """Numbers of a transformer that memory depends on; `edgec.formats.gguf.model.ModelShape` is one."""

    @property
    def n_embd(self) -> int: ...
    @property
    def n_ff(self) -> int: ...
    @property
    def n_vocab(self) -> int: ...


@dataclass(frozen=True)
class _Need:
    """All that memory depends on; `context` and `batch` vary while advice is computed."""

    target: Target
    runtime: Runtime
    shape: FitShape
    weights_bytes: int
    repacked_bytes: int
    kv_cache: bool

    @property
    def copies_bytes(self) -> int:
        """What copies at load take besides the weights themselves."""
        return int(self.weights_bytes * (self.runtime.load_copies - 1))

    def kv_bytes(self, context: int, batch: int) -> int:
        if not self.kv_cache:
            return 0
        r = self.runtime
        return kv_cache_bytes(self.shape, context=context, kv_bytes=r.kv_bytes, batch=batch, n_ubatch=r.n_ubatch)

    def rows(self, context: int) -> int:
        """Tokens of one physical batch: an encoder sees a whole text at once, a decoder takes it in pieces."""
        return min(self.runtime.n_ubatch, context) if self.kv_cache else context

    def compute_bytes(self, context: int) -> int:
        """Activations of one physical batch, as llama.cpp reserves them (tests/plan/test_fit.py has its numbers).

        Five rows of the embedding's width, the logits or three feed-forward rows, and a 16-bit attention mask.
        """
        rows = self.rows(context)
        feed_forward = 3 * self.shape.n_ff
        widest = max(self.shape.n_vocab, feed_forward) if self.kv_cache else feed_forward
        return rows * ((widest + 5 * self.shape.n_embd) * _FLOAT_BYTES + context * _MASK_BYTES)

    def total_bytes(self, context: int, batch: int) -> int:
        fixed = self.weights_bytes + self.copies_bytes + self.runtime.constant_mib * MIB
        return fixed + self.kv_bytes(context, batch) + self.compute_bytes(context)


def predict_fit(
    target: Target,
    runtime: Runtime,
    *,
    shape: FitShape,
    weights_bytes: int,
    bytes_by_type: Mapping[str, int],
    largest_tensor_bytes: int,
    context: int,
    batch: int,
    largest_file_bytes: int | None = None,
    kv_cache: bool = True,
    can_shard: bool = True,
) -> Fit:
    """Memory the model needs on `target` under `runtime`, and whether it is there.

    `weights_bytes`: all tensors; `bytes_by_type`: the same per tensor type; `context`: tokens per sequence; `batch`:
    sequences; `largest_file_bytes`: the largest shard, None when the model is one file; `kv_cache`: False for encoders;
    `can_shard`: whether the format allows several files.
    """
    repacked = sum(size for name, size in bytes_by_type.items() if name in runtime.repacked_types)
    need = _Need(target, runtime, shape, weights_bytes, repacked, kv_cache)
    available = target.memory.available_mib * MIB
    needed = need.total_bytes(context, batch)
    limits = Limits(
        target=target,
        largest_tensor_bytes=largest_tensor_bytes,
        largest_file_bytes=weights_bytes if largest_file_bytes is None else largest_file_bytes,
        can_shard=can_shard,
    )
    advice = advise(
        need, limits, schemes=runtime.schemes, bytes_by_type=bytes_by_type, context=context, batch=batch,
        budget_bytes=int(available * (1 - MARGIN)),
    )  # fmt: skip
    over_limit = limits.broken(need.kv_bytes(context, batch), need.compute_bytes(context)) is not None
    return Fit(
        verdict=verdict_of(needed, available, over_limit=over_limit),
        items=_items(need, context, batch),
        needed_mib=needed / MIB,
        available_mib=available / MIB,
        advice=advice,
        total_mib=target.memory.total_mib,
        os_reserve_mib=target.memory.os_reserve_mib,
    )


def verdict_of(needed: float, available: float, *, over_limit: bool = False) -> Literal["fits", "tight", "no"]:
    """Whether what is needed is there, in one unit. `over_limit`: a limit of the platform is broken besides."""
    if over_limit or needed > available:
        return "no"
    return "fits" if needed <= available * (1 - MARGIN) else "tight"


def _items(need: _Need, context: int, batch: int) -> tuple[MemoryItem, ...]:
    shape, runtime = need.shape, need.runtime
    name, how = _WEIGHTS[runtime.weights_in]
    items = [MemoryItem(name, (need.weights_bytes - need.repacked_bytes) / MIB, how)]
    if need.repacked_bytes:
        how = "copied into the CPU kernels' layout at load: anonymous memory that cannot be dropped"
        items.append(MemoryItem("weights, repacked at load", need.repacked_bytes / MIB, how))
    if need.copies_bytes:
        how = f"the weights lie {runtime.load_copies:g} times in memory at load, and it is not given back"
        items.append(MemoryItem("copies at load", need.copies_bytes / MIB, how))
    if need.kv_cache:
        cells = f"{shape.n_layer} layers x {shape.n_head_kv} heads x ({shape.head_dim_k} + {shape.head_dim_v})"
        how = f"{cells} x {context} tokens x {runtime.kv_bytes} bytes x {batch}"
        if shape.sliding_window is not None:
            how += f", layers with a window hold {shape.sliding_window} tokens and one batch"
        items.append(MemoryItem("KV cache", need.kv_bytes(context, batch) / MIB, how))
    how = f"activations of a batch of {need.rows(context)} tokens"
    if need.kv_cache:
        how += ", with logits of each; less where only the last one's are asked for"
    items.append(MemoryItem("compute buffer", need.compute_bytes(context) / MIB, how))
    source = runtime.constant_provenance
    items.append(MemoryItem("runtime", float(runtime.constant_mib), f"{source.kind}: {source.note or source.source}"))
    return tuple(items)


def disk_need(target: Target, *, bundle_bytes: int) -> DiskNeed:
    """Disk for as many bundles as the device keeps at once (two: the old one stays until the new one is proven)."""
    storage = target.storage
    bundle_mib = bundle_bytes / MIB
    needed = bundle_mib * storage.ab_slots
    verdict: Literal["fits", "no", "unknown"] = "unknown"
    advice = None
    if storage.free_mib is not None:
        verdict = "fits" if needed <= storage.free_mib else "no"
    if verdict == "no":
        advice = (
            f"free {needed - (storage.free_mib or 0):.0f} MiB on the device, or choose a smaller scheme: "
            f"{storage.ab_slots} bundles of {bundle_mib:.0f} MiB must lie there at once"
        )
    free = None if storage.free_mib is None else float(storage.free_mib)
    return DiskNeed(bundle_mib, storage.ab_slots, needed, free, verdict, advice)
