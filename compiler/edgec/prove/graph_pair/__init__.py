"""Proof of a user's own graph: the artifact beside the file it was made of, both in onnxruntime."""
