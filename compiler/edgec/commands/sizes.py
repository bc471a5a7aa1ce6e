"""Sizes for people."""

from __future__ import annotations


def mib(size_bytes: float) -> str:
    """A size for people."""
    return f"{size_bytes / 2**30:.2f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.1f} MiB"
