"""The first step of a TensorRT-LLM ensemble: prompts to token ids; edgec itself never imports it.

Rule: only the standard library, numpy, tokenizers, jinja2 for `messages`, and what Triton provides.
"""
