"""Run by the tests as a program: llama.cpp's own converter, to F32, without a vocabulary, which it would refuse for
lack of the tokenizer's hash. Usage: peer_converter.py LLAMA_CPP_FOLDER (CHECKPOINT OUT.gguf)...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def _convert(llama_cpp: Path, paths: Iterator[Path]) -> None:
    sys.path[:0] = [str(llama_cpp / "gguf-py"), str(llama_cpp)]
    import gguf  # noqa: PLC0415 - llama.cpp's, not the package index's
    import torch  # noqa: PLC0415
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # noqa: PLC0415

    read_settings = ModelBase.load_hparams
    for checkpoint, out in zip(paths, paths, strict=True):
        settings = json.loads((checkpoint / "config.json").read_text())
        # With a transformers that knows Nomic BERT itself, the converter would read that class's defaults instead.
        published = "n_embd" in settings
        ModelBase.load_hparams = (
            staticmethod(lambda folder, mistral, s=settings: dict(s)) if published else read_settings
        )
        settings = ModelBase.load_hparams(checkpoint, False)
        model_class = get_model_class(get_model_architecture(settings, ModelType.TEXT))
        model_class.set_vocab = lambda self: None
        with torch.inference_mode():
            model_class(checkpoint, gguf.LlamaFileType.ALL_F32, out).write()


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), (Path(argument) for argument in sys.argv[2:]))
