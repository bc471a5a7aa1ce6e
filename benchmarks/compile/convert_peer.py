"""Run llama.cpp's convert_hf_to_gguf.py with the pre-tokenizer named instead of recognised.

llama.cpp recognises pre-tokenizers by a hash over one vocabulary's output, so that it refuses every vocabulary trained
afresh, such as a test model's. Nothing else of the converter is changed.

Usage: python convert_peer.py LLAMA_CPP_FOLDER PRE <arguments of convert_hf_to_gguf.py>
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Replace the recognition by the given name, then run the converter as if called directly."""
    folder, pre = Path(sys.argv[1]), sys.argv[2]
    script = folder / "convert_hf_to_gguf.py"
    sys.path[:0] = [str(folder), str(folder / "gguf-py")]
    from conversion.base import TextModel  # noqa: PLC0415  # only importable from the folder given

    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    sys.argv = [str(script), *sys.argv[3:]]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
