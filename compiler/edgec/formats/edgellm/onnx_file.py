"""The files that Edge-LLM's exporter writes, read back. Rule: a file that is not whole is the export's mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgec.errors import EdgecError, ToolError
from edgec.source.onnx_file import read_onnx
from edgec.source.onnx_graph import OnnxGraph

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

# ONNX's element types.
NUMPY_TYPES: Mapping[int, np.dtype[np.generic]] = {
    1: np.dtype("<f4"),
    3: np.dtype("i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    10: np.dtype("<f2"),
}


def read_exported(path: Path) -> OnnxGraph:
    """The graph in an exported file. Raises ToolError when it is not one."""
    return read_onnx(path, damaged)


def damaged(what: str, path: Path) -> EdgecError:
    """An error about an exported file."""
    return ToolError.of(
        what, hint="export again; if it stays so, report it with the log of the export", place=str(path)
    )
