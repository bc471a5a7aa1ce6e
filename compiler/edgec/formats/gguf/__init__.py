"""The GGUF backend, for llama.cpp."""
