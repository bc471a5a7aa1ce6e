"""A llama model that says what it was made to say: each token has one successor, whatever came before.

So a real server really emits a tool call, a thought, or a character in two byte tokens, and always the same.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from handmade import safetensors_bytes
from tokenizers import Tokenizer

from edgec.events import silent
from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.source.local import open_local

DOCS_LLAMA = Path(__file__).parents[2] / "models" / "docs-llama"
CONTEXT = 1024
_WIDTH, _VOCABULARY = 512, 4096
# So much more likely than any other token that sampling cannot miss it.
_LOGIT = 60.0


def write_parrot(folder: Path, says: Mapping[str, str]) -> Path:
    """The GGUF of a model that continues a prompt ending in a key of `says` with its text, and then ends its turn."""
    source = folder / "checkpoint"
    source.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(DOCS_LLAMA / name, source / name)
    (source / "config.json").write_text(json.dumps(_config()))
    tokenizer = Tokenizer.from_file(str(DOCS_LLAMA / "tokenizer.json"))
    weights = _weights(_successors(tokenizer, says))
    tensors = {name: ("F32", list(array.shape), array.tobytes()) for name, array in weights.items()}
    (source / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    checkpoint = open_local(source)
    mapped = map_model(checkpoint.header, name="parrot", architecture=None)
    vocabulary = map_vocabulary(
        checkpoint.header, n_vocab=mapped.shape.n_vocab, arch=mapped.arch, pre=None, chat_template=None
    )
    layout = plan_layout(mapped, vocabulary, checkpoint.header.tensors, scheme="source", name="parrot")
    compiled = compile_gguf(checkpoint, layout, folder, imatrix=None, report=silent, action="test")
    return folder / compiled.files[0].name


def _config() -> dict[str, object]:
    config = json.loads((DOCS_LLAMA / "config.json").read_bytes())
    shape = {"hidden_size": _WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 8}
    return {
        **config, **shape, "num_key_value_heads": 8, "max_position_embeddings": CONTEXT, "torch_dtype": "float32",
        "tie_word_embeddings": False,
    }  # fmt: skip


def _successors(tokenizer: Tokenizer, says: Mapping[str, str]) -> dict[int, int]:
    """Each token's only successor. Raises AssertionError when two texts disagree."""
    end = tokenizer.token_to_id("<|im_end|>")
    successors: dict[int, int] = {}
    for key, text in says.items():
        chain = [*tokenizer.encode(key).ids[-1:], *tokenizer.encode(text).ids, end]
        for token, successor in itertools.pairwise(chain):
            assert successors.setdefault(token, successor) == successor, (text, tokenizer.decode([token]))
    return successors


def _weights(successors: Mapping[int, int]) -> dict[str, np.ndarray]:
    """Layers that add nothing: what comes out is the last token's own vector, and it looks for its successor."""
    random = np.random.default_rng(7)
    embeddings = random.choice(np.array([-1.0, 1.0], np.float32), (_VOCABULARY, _WIDTH))
    output = np.zeros((_VOCABULARY, _WIDTH), np.float32)
    for token, successor in successors.items():
        output[successor] += embeddings[token] * (_LOGIT / _WIDTH)
    square, ones = np.zeros((_WIDTH, _WIDTH), np.float32), np.ones(_WIDTH, np.float32)
    flat = np.zeros((32, _WIDTH), np.float32)
    layer = "model.layers.0"
    return {
        "model.embed_tokens.weight": embeddings, "lm_head.weight": output, "model.norm.weight": ones,
        f"{layer}.input_layernorm.weight": ones, f"{layer}.post_attention_layernorm.weight": ones,
        **{f"{layer}.self_attn.{part}_proj.weight": square for part in "qkvo"},
        f"{layer}.mlp.gate_proj.weight": flat, f"{layer}.mlp.up_proj.weight": flat,
        f"{layer}.mlp.down_proj.weight": np.zeros((_WIDTH, 32), np.float32),
    }  # fmt: skip
