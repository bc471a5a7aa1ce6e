"""Typed reading of config.json. Rule: a value is checked where it is read, and an error names its key.

transformers leaves out of config.json what equals the default of the model's class, so every family states those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgec.errors import InputError

_DAMAGED = "compare with the config.json of the model's publisher; the file may be damaged or edited"


@dataclass(frozen=True)
class Config:
    """The part of config.json that describes the text model. `place` is what errors call it."""

    values: Mapping[str, Any]
    place: str = "config.json"
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def with_defaults(self, defaults: Mapping[str, Any]) -> Config:
        """The same with the defaults of the model's class in transformers."""
        return replace(self, defaults=defaults)

    def get(self, key: str) -> Any:
        """The value of `key`, unchecked: as written, else the class's default, else None."""
        return self.values[key] if key in self.values else self.defaults.get(key)

    def integer(self, *keys: str) -> int:
        """The first of `keys` that is set, as a positive integer. InputError when none is."""
        key = self._first(keys)
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.wrong(key, "a positive integer")
        return value

    def optional_integer(self, *keys: str) -> int | None:
        """Like `integer`, but None when unset or null."""
        return self.integer(*keys) if self._is_set(keys) else None

    def number(self, *keys: str) -> float:
        """The first of `keys` that is set, as a positive number. InputError when none is."""
        key = self._first(keys)
        value = self.get(key)
        if not is_number(value) or not 0 < value < float("inf"):
            raise self.wrong(key, "a positive number")
        return float(value)

    def optional_number(self, *keys: str) -> float | None:
        """Like `number`, but None when unset or null."""
        return self.number(*keys) if self._is_set(keys) else None

    def flag(self, key: str) -> bool:
        """A boolean; false when unset."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return bool(value)

    def text(self, *keys: str, default: str) -> str:
        """The first of `keys` that is set, as a string."""
        if not self._is_set(keys):
            return default
        key = self._first(keys)
        value = self.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def section(self, key: str) -> Config | None:
        """The object under `key` as a Config of its own, None when unset or null."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Config(value, f"{self.place}: {key}")

    def require(self, key: str, allowed: tuple[Any, ...], why: str) -> None:
        """Refuses any value of `key` but the `allowed` ones (unset counts as null); `why` follows a colon."""
        value = self.get(key)
        if not any(type(value) is type(a) and value == a for a in allowed):
            shown = " or ".join(show(a) for a in allowed)
            raise InputError.of(
                f"{key} is {show(value)}, but only {shown} can be converted: {why}",
                place=self.place,
                hint="choose a model without this option; llama.cpp would load it and answer wrongly",
            )

    def wrong(self, key: str, wanted: str) -> InputError:
        """The error for a value of the wrong kind."""
        return InputError.of(f"{key} is {show(self.get(key))}, but must be {wanted}", place=self.place, hint=_DAMAGED)

    def _is_set(self, keys: tuple[str, ...]) -> bool:
        return any(self.get(k) is not None for k in keys)

    def _first(self, keys: tuple[str, ...]) -> str:
        for key in keys:
            if self.get(key) is not None:
                return key
        raise InputError.of(
            f"{' or '.join(keys)} is missing",
            place=self.place,
            hint=f"add {keys[0]!r} as the model's publisher states it",
        )


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def show(value: Any) -> str:
    """A JSON value for an error message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
