"""Numbers and sizes as people read them. Rule: three significant digits, units always written."""

from __future__ import annotations

import re

_BINARY = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_DECIMAL = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def size(count: float, units: tuple[tuple[str, int], ...] = _BINARY) -> str:
    """Bytes in binary units: `4.58 GiB`."""
    for unit, value in units:
        if count >= value * 0.9995:
            return f"{number(count / value)} {unit}"
    return f"{count:.0f} bytes"


def decimal_size(count: float) -> str:
    """Bytes in decimal units, as bandwidths are given: `4.92 GB`."""
    return size(count, _DECIMAL)


def mib(count: float) -> str:
    """MiB as the unit that suits: `4.58 GiB`."""
    return size(count * 2**20)


def number(value: float) -> str:
    """Three significant digits and no exponent for ordinary sizes: `0.0123`, `4.58`, `158`, `1,240`."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:,.0f}"
    if magnitude < 0.0005:
        return f"{value:.1e}"
    decimals = 1 if magnitude >= 9.995 else 2 if magnitude >= 0.9995 else 3 if magnitude >= 0.09995 else 4
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".")


def near_one(value: float) -> str:
    """A measured value; shares, cosines and multiples, which matter near 1, with four decimals: `0.9312`."""
    return f"{value:.4f}".rstrip("0").rstrip(".") if 0.5 < value < 2 else number(value)


def percent(share: float) -> str:
    """A share between 0 and 1 as per cent: `98.4 %`, and never `100 %` for less than all."""
    value = share * 100
    if 99.95 <= value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %" if value < 99.95 else f"{value:.0f} %"


def range_text(low: float, high: float) -> str:
    """A range of speeds: `4.5 to 5.7`."""
    return f"{_coarse(low)} to {_coarse(high)}"


def _coarse(value: float) -> str:
    """Two significant digits: a prediction has no more."""
    if value >= 100:
        step = 10 ** (len(str(int(value))) - 2)
        return f"{round(value / step) * step:,d}"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def compact(text: str) -> str:
    """A text without blank lines at its ends and with at most one in a row."""
    return _BLANK_LINES.sub("\n\n", text).strip()


def count_of(count: int, noun: str) -> str:
    """`1 check`, `12 checks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
