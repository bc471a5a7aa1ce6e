"""A recorded stand-in for the vendor's programs: what it makes is no engine, and nothing here was run on a GPU.

It writes the files and log lines that the real ones write, in their form:
- `llm_build` and the class `LLMBuilder` of TensorRT Edge-LLM: lines such as `[21:30:27.880] [INFO] [TensorRT] Engine
  generation completed in 87.9465 seconds.` from published logs of `llm_build`; `config.json` is the ONNX folder's with
  a section `builder_config` (tensorrt-edgellm 0.11.0);
- `trtllm-build`: lines such as `[09/19/2024-03:34:55] [TRT-LLM] [I] Serializing engine to ...` from the examples of
  TensorRT-LLM; after a failure it goes on and saves its config (NVIDIA/TensorRT-LLM#346).

As a runner it answers with a toy function of the engine's weights, so that another engine gives other tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

VOCABULARY = 997
WIDTH = 16
HEADER = b"a stand-in's file, no engine\n"
EDGELLM, TRTLLM = "0.11.0", "0.12.0"


def next_token(weights: bytes, context: list[int]) -> dict[int, float]:
    """Token -> log probability, most probable first: a function of every bit of `weights` and `context`."""
    seed = hashlib.sha256(hashlib.sha256(weights).digest() + json.dumps(context).encode()).digest()
    tokens = list(dict.fromkeys(int.from_bytes(seed[2 * i : 2 * i + 2], "big") % VOCABULARY for i in range(WIDTH)))
    return {token: -0.25 - 0.75 * place for place, token in enumerate(tokens)}


def continuation(weights: bytes, prompt: list[int], length: int) -> list[dict[int, float]]:
    """The distributions of a greedy continuation."""
    made: list[dict[int, float]] = []
    for _ in range(length):
        made.append(next_token(weights, [*prompt, *(next(iter(d)) for d in made)]))
    return made


def run(request: dict[str, Any], progress: Any, *, mode: str = "good") -> dict[str, Any]:
    """As a runner; see `edgec/device/proof.py`."""
    if request["ask"] == "versions":
        return {"backend": mode.removeprefix("version ") if mode.startswith("version ") else None, "tensorrt": None}
    folder = Path(request["engine"])
    engine = next(folder / name for name in ("llm.engine", "rank0.engine") if (folder / name).exists())
    weights = engine.read_bytes().removeprefix(HEADER)
    if mode == "runtime dies":
        _say("Failed to deserialize TensorRT engine from file")
        os._exit(7)
    if mode == "runner killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "wrong tokens":
        weights += b"!"
    answers, counts = [], []
    for index, prompt in enumerate(request["prompts"]):
        progress(index, len(request["prompts"]), "prompts")
        found = continuation(weights, prompt["tokens"], request["new_tokens"])
        logprobs = None if mode == "no logits" else [{str(t): p for t, p in d.items()} for d in found]
        answers.append({"token_ids": [next(iter(d)) for d in found], "log_probabilities": logprobs})
        counts.append(len(prompt["tokens"]) + (mode == "other tokenizer"))
    return {"runtime": "recorded stand-in", "answers": answers, "prompt_tokens": counts}


def replay(request: dict[str, Any], reference: Path, version: str) -> dict[str, Any]:
    """As a runner that answers what the reference records: for bundles of real models, whose engine nobody has here."""
    if request["ask"] == "versions":
        return {"backend": version, "tensorrt": None}
    answers = []
    for prompt in json.loads(reference.read_text())["prompts"]:
        top = [position["top"] for position in prompt["positions"]]
        logprobs = [{str(token): value for token, value in position} for position in top]
        answers.append({"token_ids": [position[0][0] for position in top], "log_probabilities": logprobs})
    return {"runtime": "recorded stand-in: the reference itself", "answers": answers}


def main(arguments: list[str], *, mode: str = "good") -> int:
    """As a builder; the first argument is the name of the one it stands in for."""
    name, *rest = arguments
    if mode == "hangs":
        time.sleep(600)
    if mode == "killed for memory":
        # What the kernel does when memory runs out.
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "killed below":
        return 137
    if mode == "fails":
        _say("[21:30:27.874] [ERROR] [llm_build.cpp:243:main] Failed to build LLM engine.")
        return 1
    code = _trtllm(rest, mode) if name == "trtllm-build" else _edgellm(rest, mode)
    if mode == "lingers":
        time.sleep(1.6)
    return code


def _edgellm(arguments: list[str], mode: str) -> int:
    parser = argparse.ArgumentParser()
    for option in ("--onnx-dir", "--engine-dir"):
        parser.add_argument(option, type=Path)
    for option in ("--max-input-len", "--max-kv-cache-capacity", "--max-batch-size"):
        parser.add_argument(option, type=int)
    given = parser.parse_args(arguments)
    weights = (given.onnx_dir / "model.onnx.data").read_bytes()
    _say(f"[21:30:27.874] [INFO] [TensorRT] Total Weights Memory: {len(weights)}")
    if mode == "log says failed":
        _say("[21:30:27.876] [ERROR] [builderUtils.cpp:320] Failed to build serialized engine")
    # Said also by the build of NVIDIA/TensorRT-Edge-LLM#30, which wrote no engine.
    _say("[21:30:27.880] [INFO] [TensorRT] Engine generation completed in 87.9465 seconds.")
    _write_engine(given.engine_dir / "llm.engine", weights, mode)
    config = json.loads((given.onnx_dir / "config.json").read_text())
    config["builder_config"] = {
        "max_batch_size": given.max_batch_size,
        "max_input_len": given.max_input_len,
        "max_kv_cache_capacity": given.max_kv_cache_capacity,
    }
    if mode == "other version":
        config["edgellm_version"] = "0.6.0"
    if mode != "no config":
        (given.engine_dir / "config.json").write_text(json.dumps(config))
    if mode == "leaves a pipe":
        os.mkfifo(given.engine_dir / "pipe")
    if mode == "tokenizer is a link":
        (given.engine_dir / "tokenizer.json").symlink_to(given.onnx_dir / "tokenizer.json")
    else:
        shutil.copy(given.onnx_dir / "tokenizer.json", given.engine_dir)
    _say(f"[21:30:29.433] [INFO] [builderUtils.cpp:328:buildAndSerializeEngine] Engine saved to {given.engine_dir}")
    _say("[21:30:30.110] [INFO] [llm_build.cpp:246:main] LLM engine built successfully.")
    return 0


def _trtllm(arguments: list[str], mode: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint_dir", type=Path)
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--max_batch_size", type=int)
    # It has dozens more, which change nothing of the form.
    given, _ = parser.parse_known_args(arguments)
    weights = (given.checkpoint_dir / "rank0.safetensors").read_bytes()
    _say("[09/19/2024-03:34:50] [TRT-LLM] [I] Total time of constructing network from module object 2.7 seconds")
    _say("[09/19/2024-03:34:51] [TRT-LLM] [I] Build TensorRT engine Unnamed Network 0")
    if mode == "log says failed":
        _say("[09/19/2024-03:34:55] [TRT-LLM] [E] Engine building failed, please check the error log.")
    else:
        _say(f"[09/19/2024-03:34:55] [TRT-LLM] [I] Serializing engine to {given.output_dir}/rank0.engine...")
        _write_engine(given.output_dir / "rank0.engine", weights, mode)
    config = {"version": TRTLLM, "pretrained_config": {}, "build_config": {"max_batch_size": given.max_batch_size}}
    (given.output_dir / "config.json").write_text(json.dumps(config))
    _say("[09/19/2024-03:35:23] [TRT-LLM] [I] Total time of building all engines: 00:01:47")
    return 0


def _write_engine(path: Path, weights: bytes, mode: str) -> None:
    if mode == "no engine":
        return
    whole = HEADER + weights
    if mode == "engine is a link":
        path.with_name("elsewhere").write_bytes(whole)
        path.symlink_to("elsewhere")
        return
    path.write_bytes({"empty engine": b"", "truncated engine": whole[: len(whole) // 4]}.get(mode, whole))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
