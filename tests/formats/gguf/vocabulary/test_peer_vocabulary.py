"""Metadata key by key, in order, against llama.cpp's own converter, which is given the pre-tokenizer's name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizer_models import DOCS_LLAMA, as_bytes, bert_vocab, byte_bpe, header, sentencepiece_file, split
from tokenizers import pre_tokenizers as pt

from edgec.formats.gguf.reader import read_gguf_header
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.structures import STRUCTURES

pytestmark = [pytest.mark.peer, pytest.mark.reference]

_CONVERT = Path(__file__).parents[4] / "benchmarks" / "compile" / "convert_peer.py"
_SHAPE = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "rope_theta": 1e4, "original_max_position_embeddings": 64, "sliding_window": 32, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}  # fmt: skip


def _llama3() -> dict[str, Any]:
    pattern = next(s.steps[0] for s in STRUCTURES if s.name == "llama-bpe")
    letters = pt.ByteLevel(add_prefix_space=False, use_regex=False)
    document = byte_bpe(pt.Sequence([split(pattern), letters]), ignore_merges=True)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document["added_tokens"] += [
        {"id": 2500, "content": "<|eot_id|>", "special": True, **plain},
        {"id": 2501, "content": "<tool>", "special": False, **plain},
    ]
    start = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    ids = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
    template = {"type": "TemplateProcessing", "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": ids}  # fmt: skip
    letters_again = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    document["post_processor"] = {"type": "Sequence", "processors": [letters_again, template]}
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|eot_id|>", "tokenizer_class": "PreTrainedTokenizerFast",
                "chat_template": "{{ messages }}"}  # fmt: skip
    return {"tokenizer.json": document, "tokenizer_config.json": settings}


def _llama2() -> dict[str, Any]:
    model = sentencepiece_file()
    document = json.loads(oracle_json({"tokenizer.model": model}) or b"")
    added = {"2000": {"content": "<|user|>", "special": True}, "2001": {"content": "\u2581[x]", "special": False}}
    named = {str(i): {"content": t, "special": True} for i, t in enumerate(("<unk>", "<s>", "</s>"))}
    document["added_tokens"] += [
        {"id": int(i), "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, **token}
        for i, token in added.items()
    ]
    settings = {"added_tokens_decoder": {**named, **added}, "bos_token": "<s>", "eos_token": "</s>",
                "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False,
                "tokenizer_class": "LlamaTokenizer"}  # fmt: skip
    return {"tokenizer.model": model, "tokenizer.json": document, "tokenizer_config.json": settings}


def _bert() -> dict[str, Any]:
    vocab = bert_vocab(lowercase=True)
    settings = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]",
                "mask_token": "[MASK]", "tokenizer_class": "BertTokenizer", "do_lower_case": True}  # fmt: skip
    document = json.loads(oracle_json({"vocab.txt": vocab}) or b"")
    return {"vocab.txt": vocab, "tokenizer.json": document, "tokenizer_config.json": settings}


def _docs_llama() -> dict[str, Any]:
    return {p.name: p.read_bytes() for p in DOCS_LLAMA.glob("*.json") if p.name != "config.json"}


CASES: dict[str, tuple[Any, str, str, str, int]] = {
    "docs-llama": (_docs_llama, "LlamaForCausalLM", "llama", "qwen2", 4096),
    "llama 3": (_llama3, "LlamaForCausalLM", "llama", "llama-bpe", 2506),
    "llama 2": (_llama2, "LlamaForCausalLM", "llama", "default", 2008),
    "phi-3": (_llama2, "Phi3ForCausalLM", "phi3", "default", 2008),
    "bert": (_bert, "BertModel", "bert", "default", 3000),
}


@pytest.mark.parametrize("case", CASES)
def test_entries_are_the_converters(case: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    llama_cpp = os.environ.get("EDGEC_LLAMA_CPP")
    if not llama_cpp or not (Path(llama_cpp) / "convert_hf_to_gguf.py").exists():
        pytest.skip("EDGEC_LLAMA_CPP names no llama.cpp folder")
    make, architecture, arch, pre, n_vocab = CASES[case]
    files = make()
    if case == "bert":
        n_vocab = len(files["vocab.txt"].splitlines())
    model_type = {"phi3": "phi3", "bert": "bert"}.get(arch, "llama")
    config = {**_SHAPE, "architectures": [architecture], "model_type": model_type, "vocab_size": n_vocab}
    config |= {"bos_token_id": 1, "eos_token_id": 2} if case != "bert" else {}
    for name, data in as_bytes({**files, "config.json": config}).items():
        (tmp_path / name).write_bytes(data)
    out = tmp_path / "peer.gguf"
    command = [sys.executable, _CONVERT, llama_cpp, pre, tmp_path, "--vocab-only", "--outfile", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peer = [e for e in read_gguf_header(out).metadata.values() if e.key.startswith("tokenizer.")]
    ours = map_vocabulary(header(files, config), n_vocab=n_vocab, arch=arch).metadata
    assert [e.key for e in ours] == [e.key for e in peer]
    for mine, theirs in zip(ours, peer, strict=True):
        assert (mine.type, mine.item_type, mine.value) == (theirs.type, theirs.item_type, theirs.value), mine.key
