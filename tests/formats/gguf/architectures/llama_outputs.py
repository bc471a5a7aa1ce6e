"""Run by the tests as a program: opens a GGUF in llama.cpp with nothing rounded (F32 cache, no flash attention) and
saves the logits, or the embeddings, of every token. Usage: llama_outputs.py MODEL TOKENS.npy OUT.npy logits|rows|pooled
"""

from __future__ import annotations

import ctypes as c
import sys
from pathlib import Path

import numpy as np

from edgec.formats.gguf.runtime.binding import load

_F32 = 0
_RANK = 4


def _run(model_path: str, tokens: list[int], want: str) -> np.ndarray:
    lib = load()
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(model_path.encode(), lib.llama_model_default_params())
    if not model:
        raise SystemExit("llama.cpp refuses the model")
    params = lib.llama_context_default_params()
    params.n_ctx = len(tokens)  # llama.cpp rounds it up to a multiple of 256
    params.n_batch = params.n_ubatch = len(tokens)
    params.type_k = params.type_v = _F32
    params.flash_attn_type = 0
    params.embeddings = want != "logits"
    if want == "rows":
        params.pooling_type = 0
    context = lib.llama_init_from_model(model, params)
    batch = lib.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    run = lib.llama_decode if lib.llama_get_memory(context) else lib.llama_encode
    if run(context, batch) != 0:
        raise SystemExit("llama.cpp cannot run the tokens")
    return _outputs(lib, model, context, len(tokens), want)


def _outputs(lib: c.CDLL, model: int, context: int, n_tokens: int, want: str) -> np.ndarray:
    if want == "logits":
        n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        return np.ctypeslib.as_array(lib.llama_get_logits(context), (n_tokens, n_vocab))
    ranks = lib.llama_pooling_type(context) == _RANK
    width = lib.llama_model_n_cls_out(model) if ranks else lib.llama_model_n_embd_out(model)
    if want == "rows":
        return np.ctypeslib.as_array(lib.llama_get_embeddings(context), (n_tokens, width))
    return np.ctypeslib.as_array(lib.llama_get_embeddings_seq(context, 0), (1, width))


if __name__ == "__main__":
    _, model_file, token_file, out_file, kind = sys.argv
    ids = [int(t) for t in np.load(Path(token_file))]
    np.save(Path(out_file), np.array(_run(model_file, ids, kind)))
