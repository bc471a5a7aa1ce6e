"""ggml's quantization, several times faster and with the same bytes on every processor: sub-blocks lie side by side.

ggml searches one sub-block of 16 or 32 weights at a time, in scalar code. Here 32 of them form a tile: every variable
of the search holds a number of each, and each sub-block still adds up in ggml's order: no fast-math, no contraction.
No block is left to ggml: rounding and casts follow it where numbers overflow, too.
"""
