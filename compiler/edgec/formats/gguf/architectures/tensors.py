"""The ledger of a checkpoint's tensors. Rule: every tensor is taken once or ignored for a stated reason; whatever is
left, missing or of another shape than config.json says is an error, because a wrong mapping loads and emits garbage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ....errors import Diagnostic, InputError
from ....source.model import TensorInfo
from ..model import TensorMapping

_SHOWN = 8


@dataclass(frozen=True)
class Ignored:
    """Tensors the runtime does not need: a regular expression over whole names, and the reason."""

    pattern: str
    reason: str


# Buffers that transformers once saved; they are computed from config.json.
ROTARY_BUFFERS = Ignored(r"(.*\.)?rotary_emb\.(inv_freq|cos_cached|sin_cached)", "computed from the rope settings")


class TensorLedger:
    """Takes tensors out of a checkpoint by name, collects mistakes, and reports all of them at once in `close`."""

    def __init__(self, tensors: Mapping[str, TensorInfo], prefix: str = "") -> None:
        self._left = dict(tensors)
        self._prefix = prefix
        self._taken: list[TensorMapping] = []
        self._mistakes: list[Diagnostic] = []

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._left

    def take(self, source: str, name: str, shape: tuple[int, ...], **transform: object) -> None:
        """Maps checkpoint tensor `source` of row-major `shape` to GGUF tensor `name`.

        `transform`: fields of TensorMapping. `rows` trims the result; `shape` is the checkpoint's.
        """
        source = self._prefix + source
        info = self._left.pop(source, None)
        if info is None:
            self._missing(source, shape)
            return
        if info.shape != shape:
            self._mistakes.append(
                Diagnostic(
                    f"tensor {source!r} has shape {_shape(info.shape)}, but config.json makes it {_shape(shape)}",
                    place=info.file,
                    hint="config.json and the weights must come from the same revision of the model",
                )
            )
            return
        mapping = replace(TensorMapping(name=name, source=source, shape=shape), **transform)  # type: ignore[arg-type]
        if mapping.rows is not None:
            mapping = replace(mapping, shape=(mapping.rows, *shape[1:]))
        self._taken.append(mapping)

    def computed(self, name: str, values: tuple[float, ...]) -> None:
        """Adds a float32 tensor that stands in no file."""
        self._taken.append(TensorMapping(name=name, source=None, shape=(len(values),), constant=values))

    def ignore(self, *ignored: Ignored) -> None:
        """Drops the tensors matching any of `ignored`."""
        for rule in ignored:
            for name in [n for n in self._left if re.fullmatch(rule.pattern, n)]:
                del self._left[name]

    def close(self) -> tuple[TensorMapping, ...]:
        """The mappings. InputError with every missing, misshapen and unknown tensor."""
        unknown = [
            Diagnostic(
                f"tensor {name!r} is not part of this architecture",
                place=info.file,
                hint="the model differs from its class name: an adapter, a quantized checkpoint or a variant; "
                "use the publisher's plain weights",
            )
            for name, info in sorted(self._left.items())
        ]
        mistakes = self._mistakes + unknown
        if mistakes:
            rest = len(mistakes) - _SHOWN
            if rest > 0:
                mistakes = [*mistakes[:_SHOWN], Diagnostic(f"and {rest} more tensors like these")]
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


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(n) for n in shape)}]"
