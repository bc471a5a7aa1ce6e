"""llama.cpp's own converter and quantizer, found through EDGEC_LLAMA_CPP (see benchmarks/compile/build_peer.sh)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from edgec.formats.gguf.reader import read_gguf_header

_CONVERT = Path(__file__).parents[3] / "benchmarks" / "compile" / "convert_peer.py"


def folder() -> Path | None:
    """The folder with `bin/llama-quantize` and `convert_hf_to_gguf.py`, if there is one."""
    value = os.environ.get("EDGEC_LLAMA_CPP")
    return Path(value) if value and (Path(value) / "bin" / "llama-quantize").exists() else None


def convert(checkpoint: Path, out: Path, outtype: str) -> Path:
    """Convert a checkpoint whose vocabulary has Qwen2's split pattern."""
    _run([sys.executable, _CONVERT, _found(), "qwen2", checkpoint, "--outtype", outtype, "--outfile", out])
    return out


def quantize(source: Path, out: Path, scheme: str, *, imatrix: Path | None = None) -> Path:
    """Quantize with llama-quantize, with default settings."""
    options = ["--imatrix", imatrix] if imatrix is not None else []
    _run([_found() / "bin" / "llama-quantize", *options, source, out, scheme, "2"])
    return out


def collect_imatrix(model: Path, text: Path, out: Path, *, chunks: int) -> Path:
    """Run llama-imatrix over the first chunks of a text."""
    _run([_found() / "bin" / "llama-imatrix", "-m", model, "-f", text, "-o", out, "--chunks", str(chunks), "-c", "128"])
    return out


def digests(path: Path) -> dict[str, str]:
    """Tensor name to `type sha256` of a GGUF."""
    data = path.read_bytes()
    return {
        n: f"{t.type.label} {hashlib.sha256(data[t.offset : t.offset + t.nbytes]).hexdigest()}"
        for n, t in read_gguf_header(path).tensors.items()
    }


def _found() -> Path:
    found = folder()
    if found is None:
        raise RuntimeError("EDGEC_LLAMA_CPP names no folder with bin/llama-quantize")
    return found


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
