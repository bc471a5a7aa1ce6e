"""The files that Edge-LLM's exporter writes, read back. Rule: a file that is not whole is the export's mistake."""

from __future__ import annotations

from pathlib import Path

from edgec.errors import EdgecError, ToolError
from edgec.source.onnx_file import OnnxGraph, read_onnx

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"


def read_exported(path: Path) -> OnnxGraph:
    """The graph in an exported file. Raises ToolError when it is not one."""
    return read_onnx(path, damaged)


def damaged(what: str, path: Path) -> EdgecError:
    """An error about an exported file."""
    return ToolError.of(
        what, hint="export again; if it stays so, report it with the log of the export", place=str(path)
    )
