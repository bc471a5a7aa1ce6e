"""The ledger of a checkpoint's tensors. Rule: every tensor is taken once or ignored for a stated reason; whatever is
left, missing or of another shape than config.json says is an error, because a wrong mapping loads and emits garbage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.model import TensorMapping
from edgec.source.model import TensorInfo

_SHOWN = 8


@dataclass(frozen=True)
class Ignored:
    """Tensors the runtime does not need: a regular expression over whole names, and the reason."""

    pattern: str
    reason: str


# Buffers that transformers once saved.
ROTARY_BUFFERS = Ignored(r"(.*\.)?rotary_emb\.(inv_freq|cos_cached|sin_cached)", "computed from the rope settings")


class TensorLedger:
    """Takes tensors out of a checkpoint by name, collects mistakes, and reports all of them at once in `close`."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        self._left = dict(tensors)
        self._taken: list[TensorMapping] = []
        self._mistakes: list[Diagnostic] = []

    def __contains__(self, name: object) -> bool:
        """Whether a tensor of this name is in the checkpoint and not taken yet."""
        return name in self._left

    def take(
        self,
        source: str,
        name: str,
        shape: tuple[int, ...],
        *,
        rows: int | None = None,
        unpermute_heads: int | None = None,
        add: float = 0.0,
        fixed_type: Literal["f32"] | None = None,
    ) -> None:
        """Maps checkpoint tensor `source` of row-major `shape` to GGUF tensor `name`.

        The keywords are TensorMapping's; `shape` is that of the checkpoint, before `rows` are cut off.
        """
        info = self._left.pop(source, None)
        if info is None:
            self._missing(source, shape)
        elif info.shape != shape:
            self._misshapen(info, shape)
        else:
            self._taken.append(
                TensorMapping(
                    name=name,
                    source=source,
                    shape=shape if rows is None else (rows, *shape[1:]),
                    rows=rows,
                    unpermute_heads=unpermute_heads,
                    add=add,
                    fixed_type=fixed_type,
                )
            )

    def take_pair(self, source: str, name: str, n_out: int, *, weight: str = "weight", bias: str = "bias") -> None:
        """Maps a norm's weight and bias, both `n_out` long; `weight` and `bias` are what the checkpoint calls them."""
        self.take(f"{source}.{weight}", f"{name}.weight", (n_out,))
        self.take(f"{source}.{bias}", f"{name}.bias", (n_out,))

    def add_computed(self, name: str, values: tuple[float, ...]) -> None:
        """Adds a one-dimensional float32 tensor that stands in no file."""
        self._taken.append(TensorMapping(name=name, source=None, shape=(len(values),), constant=values))

    def ignore(self, *ignored: Ignored) -> None:
        """Drops the tensors matching any of `ignored`."""
        for rule in ignored:
            for name in [n for n in self._left if re.fullmatch(rule.pattern, n)]:
                del self._left[name]

    def close(self) -> tuple[TensorMapping, ...]:
        """The mappings. InputError with the missing, misshapen and unknown tensors (the first few of them)."""
        unknown = [
            Diagnostic(
                f"tensor {name!r} is not part of this architecture",
                place=info.file,
                hint="the model is not what its class name says: an adapter, quantized weights or a variant; "
                "use the publisher's plain weights",
            )
            for name, info in sorted(self._left.items())
        ]
        mistakes = self._mistakes + unknown
        if len(mistakes) > _SHOWN:
            mistakes = [*mistakes[:_SHOWN], Diagnostic(f"and {len(mistakes) - _SHOWN} more tensors like these")]
        if mistakes:
            raise InputError(*mistakes)
        return tuple(self._taken)

    def _missing(self, source: str, shape: tuple[int, ...]) -> None:
        self._mistakes.append(
            Diagnostic(
                f"tensor {source!r} of shape {_shape(shape)} is missing",
                place="checkpoint",
                hint="download the model again, or check that config.json belongs to these weights",
            )
        )

    def _misshapen(self, info: TensorInfo, shape: tuple[int, ...]) -> None:
        self._mistakes.append(
            Diagnostic(
                f"tensor {info.name!r} has shape {_shape(info.shape)}, but config.json makes it {_shape(shape)}",
                place=info.file,
                hint="config.json and the weights must come from the same revision of the model",
            )
        )


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(n) for n in shape)}]"
