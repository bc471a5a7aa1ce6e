"""TensorRT-LLM: checkpoints that `trtllm-build` of a version takes, and the command for it."""
