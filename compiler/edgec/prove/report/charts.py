"""Geometry of the report's charts, in per cent of their width and height; the template draws it.

Rule: charts scale without scaling their text, so positions are shares and nothing is in pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgec.prove.model import Check, TensorError
from edgec.prove.report.model import ReportMemory, ReportSpeed
from edgec.prove.report.wording import mib, number, percent, size

# Colours of the style sheet, `--c0` to `--c7`.
_COLOURS = 8
# Left share of the error strip, in per cent, that holds the labels of its rows.
_GUTTER = 8.0
_BLOCK = re.compile(r"^blk\.(\d+)\.")


@dataclass(frozen=True)
class Segment:
    """A piece of a stacked bar: `x` and `width` in per cent, `style` a class of the style sheet."""

    label: str
    value: str
    share: str
    x: float
    width: float
    style: str
    detail: str = ""


@dataclass(frozen=True)
class Dot:
    """A tensor in the error strip: `x` and `y` in per cent, `y` from the top."""

    x: float
    y: float
    style: str
    title: str


@dataclass(frozen=True)
class Tick:
    """A line and its label at `at` per cent."""

    at: float
    label: str


@dataclass(frozen=True)
class ErrorStrip:
    """Relative error of every quantized tensor, by layer. `exact`: tensors stored without any loss, not drawn."""

    dots: tuple[Dot, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    legend: tuple[tuple[str, str], ...]
    worst: tuple[TensorError, ...]
    exact: int


@dataclass(frozen=True)
class Band:
    """A predicted range on a scale from 0."""

    x: float
    width: float
    ticks: tuple[Tick, ...]


def colours_of(types: Mapping[str, int]) -> dict[str, str]:
    """A colour class per tensor type, the largest first, so that a type has one colour in the whole report."""
    ordered = sorted(types, key=lambda name: (-types[name], name))
    return {name: f"c{i % _COLOURS}" for i, name in enumerate(ordered)}


def type_segments(bytes_by_type: Mapping[str, int], colours: Mapping[str, str]) -> tuple[Segment, ...]:
    """The stacked bar of tensor bytes per type."""
    total = sum(bytes_by_type.values()) or 1
    segments: list[Segment] = []
    x = 0.0
    for name in colours:
        width = 100 * bytes_by_type[name] / total
        share = percent(bytes_by_type[name] / total)
        segments.append(Segment(name, size(bytes_by_type[name]), share, x, width, colours[name]))
        x += width
    return tuple(segments)


def memory_segments(memory: ReportMemory) -> tuple[Segment, ...]:
    """The stacked bar of memory: the system's share, every item, what is left; a need above the device widens it."""
    whole = max(memory.total_mib, memory.os_reserve_mib + memory.needed_mib)
    free = max(0.0, memory.total_mib - memory.os_reserve_mib - memory.needed_mib)
    parts = [("system and other services", memory.os_reserve_mib, "reserved", "Kept by the operating system.")]
    parts += [(item.name, item.mib, f"c{i % _COLOURS}", item.detail) for i, item in enumerate(memory.items)]
    parts.append(("free", free, "free", ""))
    segments: list[Segment] = []
    x = 0.0
    for label, amount, style, detail in parts:
        width = 100 * amount / whole
        segments.append(Segment(label, mib(amount), percent(amount / whole), x, width, style, detail))
        x += width
    return tuple(segments)


def memory_limit(memory: ReportMemory) -> float:
    """Where the device's memory ends on the bar of `memory_segments`, in per cent."""
    return 100 * memory.total_mib / max(memory.total_mib, memory.os_reserve_mib + memory.needed_mib)


def speed_band(speed: ReportSpeed, highest: float) -> Band:
    """The range of one runtime on a scale that is common to all and ends at a round number above `highest`."""
    end, step = _scale(highest)
    ticks = tuple(Tick(100 * i * step / end, number(i * step)) for i in range(round(end / step) + 1))
    return Band(100 * speed.low_tok_s / end, 100 * (speed.high_tok_s - speed.low_tok_s) / end, ticks)


def error_strip(tensors: Sequence[TensorError], colours: Mapping[str, str]) -> ErrorStrip | None:
    """The dots of every tensor that lost something; None when none did."""
    lossy = [t for t in tensors if t.relative_rmse > 0]
    if not lossy:
        return None
    layers = 1 + max((layer for t in lossy if (layer := _layer(t.name)) is not None), default=-1)
    end, step = _scale(max(t.relative_rmse for t in lossy) * 100)
    columns = layers + 2
    dots = []
    for t in sorted(lossy, key=lambda t: t.name):
        x = _across(_column(t.name, layers), columns)
        y = 100 - 100 * (t.relative_rmse * 100) / end
        title = f"{t.name}: {t.type}, error {percent(t.relative_rmse)}, {size(t.bytes)}"
        dots.append(Dot(x, y, colours.get(t.type, "c7"), title))
    every = max(1, math.ceil(layers / 8))
    # Every layer's number when there is room, else every few, clear of the labels at both ends.
    shown = range(layers) if every == 1 else range(every, layers - every // 2, every)
    ticks = [Tick(_across(i + 1, columns), str(i)) for i in shown]
    used = {t.type for t in lossy}
    return ErrorStrip(
        dots=tuple(dots),
        rows=tuple(Tick(100 - 100 * i * step / end, f"{number(i * step)} %") for i in range(round(end / step) + 1)),
        columns=(Tick(_across(0, columns), "in"), *ticks, Tick(_across(columns - 1, columns), "out")),
        legend=tuple((name, style) for name, style in colours.items() if name in used),
        worst=tuple(sorted(lossy, key=lambda t: (-t.relative_rmse, t.name))[:5]),
        exact=len(tensors) - len(lossy),
    )


def budget_used(check: Check) -> float | None:
    """How much of what a check allows was used, 1 at the threshold; None where there is nothing to use up.

    Shares and cosines count from 1 down, multiples (a threshold of at least 1, at most) from 1 up, the rest from 0.
    """
    if check.relation == "==":
        return None
    start = 1.0 if check.relation == ">=" or check.threshold >= 1 else 0.0
    allowed = abs(check.threshold - start)
    if allowed == 0:
        return None
    used = (check.measured - start) if check.relation == "<=" else (start - check.measured)
    return max(0.0, used / allowed)


def _across(column: int, columns: int) -> float:
    """The middle of a column of the error strip, right of the row labels, in per cent."""
    return _GUTTER + (100 - _GUTTER) * (column + 0.5) / columns


def _layer(name: str) -> int | None:
    match = _BLOCK.match(name)
    return int(match[1]) if match else None


def _column(name: str, layers: int) -> int:
    layer = _layer(name)
    if layer is not None:
        return layer + 1
    return layers + 1 if name.startswith("output") else 0


def _scale(highest: float) -> tuple[float, float]:
    """The end of an axis from 0 and its step: three to six steps of 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return 1.0, 0.5
    power = 10.0 ** math.floor(math.log10(highest))
    for factor in (0.2, 0.5, 1.0, 2.0):
        step = factor * power
        if highest / step <= 6:
            break
    return math.ceil(highest / step - 1e-9) * step, step
