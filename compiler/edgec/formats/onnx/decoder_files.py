"""The files of an ONNX decoder's folder beside the graph: the tokenizer's, and onnxruntime-genai's configuration.

Rule: tokenizer files are the source's, byte for byte; of the configuration, what the builder wrote stays, but for what
this device has (no accelerator, the recipe's context).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgec.errors import ToolError
from edgec.quantize.architecture import Decoder

CONFIG_FILE = "genai_config.json"
# Tokens of a prompt that are read at once: the graph gives logits of each, and those of a long prompt over a large
# vocabulary take more than the weights (measured in docs/onnx.md).
CHUNK_TOKENS = 256
# Of the source's files, those that onnxruntime-genai or transformers read for the tokenizer and the generation.
CARRIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "config.json",
)


def device_config(built: bytes, decoder: Decoder, *, context: int, log: str) -> bytes:
    """genai_config.json for this device. Raises ToolError for one of another model than was asked for.

    The KV cache is allocated for `max_length` tokens at the start: with the model's own length, Qwen2's 32768, that
    would be more than its weights.
    """
    hint = f"the whole output is in {log}"
    try:
        config = json.loads(built)
        model = config["model"]
        part = model["decoder"]
        found = (part["num_hidden_layers"], part["num_key_value_heads"], part["head_size"], model["vocab_size"])
        options, search = part["session_options"], config["search"]
        wanted = (decoder.layers, decoder.kv_heads, decoder.head_dim, decoder.vocabulary)
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError.of(f"the builder's {CONFIG_FILE} has another form: {error!r}", hint=hint) from error
    if found != wanted:
        message = f"layers, key-value heads, head width and vocabulary are {found}, the model has {wanted}"
        raise ToolError.of(f"the builder's {CONFIG_FILE} is of another model: {message}", hint=hint)
    options["provider_options"] = []
    search["max_length"] = context
    search["chunk_size"] = CHUNK_TOKENS
    search["past_present_share_buffer"] = True
    return as_text(config)


def as_text(config: Mapping[str, Any]) -> bytes:
    """The file's bytes."""
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
