"""A static web site that runs the bundle's first model in a browser: GGUF on wllama, ONNX on onnxruntime-web."""
