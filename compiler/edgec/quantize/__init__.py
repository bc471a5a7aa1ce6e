"""Weights of a decoder in 4 and 8 bits, quantized layer by layer on a CPU, in Hugging Face's layouts."""
