"""Proof of encoders for onnxruntime: the artifact on its own runtime, the source in torch."""
