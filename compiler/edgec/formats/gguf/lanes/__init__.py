"""ggml's searches for scales and levels, several times faster and with the same bytes: sub-blocks lie side by side.

ggml searches one sub-block of 16 or 32 weights at a time, in scalar code. Here 128 of them form a tile, so that every
inner loop runs over independent lanes and the compiler vectorizes it, while each sub-block still adds up in ggml's
order: no fast-math, no contraction. Blocks that lanes cannot follow cheaply (numbers overflow on the way) go to ggml.
"""
