"""Of a tool's output a person sees what tells why it failed; the log has all of it."""

from __future__ import annotations

from edgec.toolchain.last_words import cause_of, plain_lines, tail_of

# As torch, onnxruntime and rknn-toolkit2 print it.
OUTPUT = """\
I rknn-toolkit2 version: 2.5.0
\x1b[1;33mW\x1b[0m \x1b[1;33mload_onnx: The config.mean_values is None, zeros will be set for input 0!\x1b[0m
/v/lib/torch/onnx/utils.py:1: TracerWarning: Converting a tensor to a Python boolean
  if torch.tensor(x):
I OpFusing 0:   0%|          | 0/100 [00:00<?, ?it/s]\rI OpFusing 0: 100%|#####| 100/100 [00:00<00:00]
2026-11-26 [W:onnxruntime:, constant_folding.cc:268] Could not find a CPU kernel
WARNING:root:Please consider to run pre-processing before quantization

E RKNN: [07:47:21.859] Unkown op target: 0
Traceback (most recent call last):
  File "a.py", line 1, in run
    raise ValueError("no such operator")
ValueError: no such operator
I rknn building done.
"""


def test_warnings_and_bars_are_left_out() -> None:
    assert tail_of(plain_lines(OUTPUT)) == [
        "E RKNN: [07:47:21.859] Unkown op target: 0",
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in run',
        '    raise ValueError("no such operator")',
        "ValueError: no such operator",
    ]


def test_the_exception_is_the_cause() -> None:
    assert cause_of(plain_lines(OUTPUT)) == "ValueError: no such operator"
    assert cause_of(["started", "torch.OutOfMemoryError", "ended"]) == "torch.OutOfMemoryError"
    invalid = "onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument: [ONNXRuntimeError] : 2"
    assert cause_of(["Traceback (most recent call last):", "  File a", "    b()", invalid, "ended"]) == invalid
    assert cause_of(["done", "E RKNN: an Error of the toolkit"]) == ""
    assert len(cause_of(["ValueError: " + "x" * 1000])) < 310
