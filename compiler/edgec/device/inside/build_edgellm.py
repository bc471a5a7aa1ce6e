"""`edgellm-onnx-build`: builds an engine from an ONNX folder with TensorRT Edge-LLM's own builder class. edgec starts
this file in the vendor's Python and never imports it.

Engine build not verified on hardware: written from the docstrings of `LLMBuilder` and `LLMBuilderConfig` in
`tensorrt_edgellm.runtime` 0.11.0, which is the same C++ as the program `llm_build` of a source build.
"""

from __future__ import annotations

import argparse
import importlib


def main() -> int:
    """Builds; the exit code is 1 when the builder says that it failed."""
    parser = argparse.ArgumentParser(prog="edgellm-onnx-build")
    parser.add_argument("--onnx-dir", required=True)
    parser.add_argument("--engine-dir", required=True)
    parser.add_argument("--max-input-len", type=int, required=True)
    parser.add_argument("--max-kv-cache-capacity", type=int, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    arguments = parser.parse_args()
    native = importlib.import_module("tensorrt_edgellm.runtime").load()
    config = native.LLMBuilderConfig()
    config.max_input_len = arguments.max_input_len
    config.max_kv_cache_capacity = arguments.max_kv_cache_capacity
    config.max_batch_size = arguments.max_batch_size
    return 0 if native.LLMBuilder(arguments.onnx_dir, arguments.engine_dir, config).build() else 1


if __name__ == "__main__":
    raise SystemExit(main())
