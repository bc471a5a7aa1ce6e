"""TensorRT Edge-LLM: ONNX with its plugins' operators, from which the device builds an engine."""
