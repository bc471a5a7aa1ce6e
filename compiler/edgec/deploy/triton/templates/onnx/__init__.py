"""An ONNX model in Triton's python backend, for servers without the onnxruntime backend; edgec itself never imports it.

Rule: only the standard library, numpy, onnxruntime and what Triton provides.
"""
