"""Size of the KV cache, as llama.cpp allocates it.

Rule: keys and values of every layer, at full context; layers with a sliding window hold the window and one batch.
"""

from __future__ import annotations

from typing import Protocol

# llama.cpp rounds the cells of a sliding-window cache up to this.
_CELL_PADDING = 256


class KvShape(Protocol):
    """Numbers of a transformer that the KV cache depends on; `edgec.formats.gguf.model.ModelShape` is one."""

    @property
    def n_layer(self) -> int: ...
    @property
    def n_head_kv(self) -> int: ...
    @property
    def head_dim_k(self) -> int: ...
    @property
    def head_dim_v(self) -> int: ...
    @property
    def sliding_window(self) -> int | None: ...
    @property
    def n_full_attention_layers(self) -> int | None: ...


def kv_cache_bytes(shape: KvShape, *, context: int, kv_bytes: int, batch: int, n_ubatch: int) -> int:
    """Bytes of the KV cache for `batch` sequences of `context` tokens each, `kv_bytes` per element.

    `n_ubatch` 0 counts what one decoded token reads instead of what is allocated.
    """
    per_cell = shape.n_head_kv * (shape.head_dim_k + shape.head_dim_v) * kv_bytes
    full_layers = _full_attention_layers(shape)
    window_cells = min(context, _window_cells(shape.sliding_window or 0, n_ubatch))
    cells = full_layers * context + (shape.n_layer - full_layers) * window_cells
    return cells * per_cell * batch


def _full_attention_layers(shape: KvShape) -> int:
    if shape.sliding_window is None:
        return shape.n_layer
    return shape.n_full_attention_layers or 0


def _window_cells(window: int, n_ubatch: int) -> int:
    if n_ubatch == 0:
        return window
    return -(-(window + n_ubatch) // _CELL_PADDING) * _CELL_PADDING
