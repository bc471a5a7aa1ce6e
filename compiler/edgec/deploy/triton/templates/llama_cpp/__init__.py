"""A Triton model around llama.cpp, served from a bundle by Triton's python backend; edgec itself never imports it.

Rule: only the standard library, numpy, xllamacpp and what Triton provides; imports between its files are relative.
"""
