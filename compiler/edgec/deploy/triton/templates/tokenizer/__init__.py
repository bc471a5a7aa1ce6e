"""The first step of an embedding ensemble: texts to token ids; edgec itself never imports it.

Rule: only the standard library, numpy, tokenizers and what Triton provides.
"""
