"""Small tokenizers trained on the corpus and the test model's texts, and llama.cpp opened on their vocabularies."""

from __future__ import annotations

import ctypes as c
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer
from tokenizers import pre_tokenizers as pt
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from edgec.formats.gguf.header import pack_header
from edgec.formats.gguf.model import KeyValue, ValueType, Vocabulary
from edgec.formats.gguf.runtime import binding
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.limits import known_limits
from edgec.prove.corpus import corpus
from edgec.prove.tokens import TokenComparison, compare_tokens
from edgec.source.model import CheckpointHeader, SourceIdentity

DOCS_LLAMA = Path(__file__).parents[4] / "models" / "docs-llama"
SPECIAL = ["<|endoftext|>", "<|im_start|>"]
_LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_SILENT = _LOG(lambda level, text, data: None)


def training_lines() -> list[str]:
    """English documentation, and every script of the corpus often enough to be learnt."""
    text = (DOCS_LLAMA / "calibration.txt").read_text(encoding="utf-8")[:60_000]
    return [text, *[piece.text for piece in corpus(())] * 5]


def split(pattern: str) -> pt.Split:
    """A split at the matches of `pattern`."""
    return pt.Split(Regex(pattern), "isolated")


def byte_bpe(pre_tokenizer: pt.PreTokenizer, *, ignore_merges: bool = False, normalizer: Any = None) -> dict[str, Any]:
    """tokenizer.json of a byte-level BPE trained behind `pre_tokenizer`."""
    tokenizer = Tokenizer(BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = BpeTrainer(
        vocab_size=2500, initial_alphabet=pt.ByteLevel.alphabet(), special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(training_lines(), trainer)
    return dict(json.loads(tokenizer.to_str()))


@cache
def sentencepiece_file(model_type: str = "bpe", *, prefix: bool = True, **options: Any) -> bytes:
    """A SentencePiece model file."""
    import sentencepiece  # noqa: PLC0415  # of the dev extra

    lines = [line for text in training_lines() for line in text.split("\n") if line.strip()]
    out = io.BytesIO()
    settings = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "vocab_size": 2000,
                "byte_fallback": model_type == "bpe", "num_threads": 1, "minloglevel": 2, **options}  # fmt: skip
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type=model_type, add_dummy_prefix=prefix,
        split_digits=True, allow_whitespace_only_pieces=True, **settings,
    )  # fmt: skip
    return out.getvalue()


@cache
def bert_vocab(*, lowercase: bool) -> bytes:
    """vocab.txt of a WordPiece vocabulary."""
    tokenizer = BertWordPieceTokenizer(lowercase=lowercase)
    # No BERT vocabulary has U+2581, which llama.cpp uses to mark the start of words.
    lines = [line.replace("\u2581", " ") for line in training_lines()]
    tokenizer.train_from_iterator(lines, vocab_size=3000, min_frequency=2, show_progress=False)
    ids = tokenizer.get_vocab()
    return ("\n".join(sorted(ids, key=lambda t: ids[t])) + "\n").encode()


def as_bytes(files: Mapping[str, Any]) -> dict[str, bytes]:
    """File contents: JSON values are written as JSON."""
    return {n: v if isinstance(v, bytes) else json.dumps(v, ensure_ascii=False).encode() for n, v in files.items()}


def header(files: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> CheckpointHeader:
    """A checkpoint's header with only tokenizer files."""
    return CheckpointHeader(config or {}, {}, as_bytes(files), SourceIdentity("file:test", None, None, ()))


def value(vocabulary: Vocabulary, key: str) -> Any:
    """The value of `tokenizer.ggml.<key>`, None where it is not written."""
    return next((e.value for e in vocabulary.metadata if e.key == f"tokenizer.ggml.{key}"), None)


class Runtime:
    """llama.cpp's tokenizer on a vocabulary, in this process."""

    def __init__(self, vocabulary: Vocabulary, path: Path, arch: str = "llama") -> None:
        numbers = {"context_length": 64, "embedding_length": 8, "block_count": 1, "feed_forward_length": 8,
                   "attention.head_count": 1}  # fmt: skip
        shape = [KeyValue(f"{arch}.{k}", ValueType.UINT32, v) for k, v in numbers.items()]
        epsilon = "attention.layer_norm_epsilon" if "bert" in arch else "attention.layer_norm_rms_epsilon"
        shape.append(KeyValue(f"{arch}.{epsilon}", ValueType.FLOAT32, 1e-5))
        architecture = KeyValue("general.architecture", ValueType.STRING, arch)
        path.write_bytes(pack_header([architecture, *shape, *vocabulary.metadata], []))
        self._lib = binding.load()
        self._lib.llama_log_set(_SILENT, None)
        self._lib.llama_model_free.argtypes = [c.c_void_p]
        params = self._lib.llama_model_default_params()
        params.vocab_only = True
        self._model = self._lib.llama_model_load_from_file(str(path).encode(), params)
        assert self._model, "llama.cpp did not load the vocabulary"
        self._vocab = self._lib.llama_model_get_vocab(self._model)

    def ids(self, text: str, *, complete: bool, special: bool) -> list[int]:
        """Token ids of `text`."""
        data = text.encode()
        room = len(data) + 16
        out = (c.c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), out, room, complete, special)
        assert count >= 0
        return list(out[:count])

    def compare(self, tokenizer: bytes) -> TokenComparison:
        """The proof's comparison in all three modes."""
        return compare_tokens(
            tokenizer,
            lambda text: self.ids(text, complete=False, special=True),
            tokenize_text=lambda text: self.ids(text, complete=False, special=False),
            tokenize_complete=lambda text: self.ids(text, complete=True, special=True),
            limits=known_limits(tokenizer),
        )

    def close(self) -> None:
        """Frees the model."""
        self._lib.llama_model_free(self._model)


def proven(
    files: Mapping[str, Any], path: Path, *, arch: str = "llama", spare_rows: int = 0, **options: Any
) -> tuple[Vocabulary, TokenComparison]:
    """Maps the tokenizer, opens it in llama.cpp and compares all ids."""
    tokenizer = oracle_json(as_bytes(files))
    assert tokenizer is not None
    n_vocab = Tokenizer.from_buffer(tokenizer).get_vocab_size() + spare_rows
    vocabulary = map_vocabulary(header(files), n_vocab=n_vocab, arch=arch, **options)
    runtime = Runtime(vocabulary, path, arch)
    try:
        return vocabulary, runtime.compare(tokenizer)
    finally:
        runtime.close()
