"""edgec: one recipe in, one signed and proven bundle for an edge device out."""

from __future__ import annotations

__version__ = "0.1.0"
