"""Model families: from a Hugging Face checkpoint's header to a llama.cpp architecture.

Rule: one small file per family behind one function type, one table; whatever is not known to be right is refused.
"""

from __future__ import annotations

from edgec.formats.gguf.architectures.registry import SUPPORTED, map_model

__all__ = ["SUPPORTED", "map_model"]
