"""Proof of ONNX decoders: logits in onnxruntime with the KV cache fed, against the source in torch."""
