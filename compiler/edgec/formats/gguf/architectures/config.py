"""Typed reading of config.json. Rule: a value is checked where it is read, and an error names its key.

transformers leaves out what equals a model's default, so every read states that default or says that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ....errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """The part of config.json that describes the text model. `place` is what errors call it."""

    values: Mapping[str, Any]
    place: str = "config.json"

    def integer(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is set, as a positive integer. InputError when none is and there is no default."""
        return self._read(keys, default, _is_size, "a positive integer")

    def optional_integer(self, *keys: str) -> int | None:
        """Like `integer`, but None when unset or null."""
        return self.integer(*keys) if self._first(keys) is not None else None

    def number(self, *keys: str, default: float | None = None) -> float:
        """The first of `keys` that is set, as a positive number."""
        return float(self._read(keys, default, _is_positive, "a positive number"))

    def optional_number(self, *keys: str) -> float | None:
        """Like `number`, but None when unset or null."""
        return self.number(*keys) if self._first(keys) is not None else None

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        return self._read((key,), default, lambda v: isinstance(v, bool), "true or false")

    def text(self, *keys: str, default: str | None = None) -> str:
        """A string."""
        return self._read(keys, default, lambda v: isinstance(v, str), "a string")

    def section(self, key: str) -> Config | None:
        """The object under `key` as a Config of its own, None when unset or null."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Config(value, f"{self.place}: {key}")

    def require(self, key: str, allowed: tuple[Any, ...], default: Any, why: str) -> None:
        """Refuses any value of `key` but the `allowed` ones; `why` completes "edgec supports ...: "."""
        value = self.values.get(key, default)
        if not any(type(value) is type(a) and value == a for a in allowed):
            shown = " or ".join(_json(a) for a in allowed)
            raise InputError.of(
                f"{key} is {_json(value)}, but only {shown} can be converted: {why}",
                place=self.place,
                hint="choose a checkpoint without this option, or a format that supports it",
            )

    def wrong(self, key: str, wanted: str) -> InputError:
        """The error for a value of the wrong kind."""
        return InputError.of(
            f"{key} is {_json(self.values.get(key))}, but must be {wanted}",
            place=self.place,
            hint="compare with the config.json of the model's publisher; the file may be damaged or edited",
        )

    def _first(self, keys: tuple[str, ...]) -> str | None:
        return next((k for k in keys if self.values.get(k) is not None), None)

    def _read(self, keys: tuple[str, ...], default: T | None, valid: Callable[[Any], bool], wanted: str) -> T:
        key = self._first(keys)
        if key is None:
            if default is not None:
                return default
            raise InputError.of(
                f"{' or '.join(keys)} is missing",
                place=self.place,
                hint=f"add {keys[0]!r} as the model's publisher states it",
            )
        value: T = self.values[key]
        if not valid(value):
            raise self.wrong(key, wanted)
        return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _json(value: Any) -> str:
    named = {None: "null", True: "true", False: "false"}
    return named[value] if value is None or isinstance(value, bool) else repr(value)
