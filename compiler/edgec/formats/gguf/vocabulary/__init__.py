"""Hugging Face tokenizer files as GGUF vocabulary metadata: the same ids on llama.cpp, or a clear refusal."""

from edgec.formats.gguf.vocabulary.mapping import map_vocabulary

__all__ = ["map_vocabulary"]
