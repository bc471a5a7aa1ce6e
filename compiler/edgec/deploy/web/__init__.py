"""A static web site that runs the bundle's GGUF in a browser, on wllama."""
