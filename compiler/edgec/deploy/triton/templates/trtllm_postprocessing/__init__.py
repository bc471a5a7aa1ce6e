"""The last step of a TensorRT-LLM ensemble: token ids to text; edgec itself never imports it.

Rule: only the standard library, numpy, tokenizers and what Triton provides.
"""
