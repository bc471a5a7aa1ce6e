"""Checkpoints: where a model comes from."""
