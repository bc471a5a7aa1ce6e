"""RKLLM: language models for the NPU of an RK3588, by the toolkit that the user brings."""
