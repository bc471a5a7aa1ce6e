"""ONNX for onnxruntime: encoders, exported by Optimum and quantized by routes that are measured."""
