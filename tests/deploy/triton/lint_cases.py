"""Wrong model repositories: the files, what the lint says, and whether tritonserver 2.51 refuses them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Answers nothing; every case fails before a request.
MODEL_PY = b"""
class TritonPythonModel:
    def execute(self, requests):
        return []
"""
HEAD = 'name: "m"\nbackend: "python"\nmax_batch_size: 4\n'
INPUT = 'input { name: "a" data_type: TYPE_FP32 dims: [ 2 ] }\n'
OUTPUT = 'output { name: "b" data_type: TYPE_FP32 dims: [ 2 ] }\n'
GOOD = HEAD + INPUT + OUTPUT + "instance_group { kind: KIND_CPU }\n"


@dataclass(frozen=True)
class Case:
    """`says`: messages, each with line and column where the lint has them. `load`: the model a server is told to load.

    `refused`: whether the server refuses it; False where it loads a model that cannot do what it was written for, None
    where it waits for ever (its python backend never learns that its process ended).
    """

    files: Mapping[str, bytes]
    says: tuple[str, ...]
    load: str = "m"
    refused: bool | None = True


def _model(text: str, **more: bytes) -> dict[str, bytes]:
    return {"m/config.pbtxt": text.encode(), "m/1/model.py": MODEL_PY, **more}


def _added(text: str, *says: str, refused: bool | None = True) -> Case:
    """A good model with `text` after its six lines."""
    return Case(_model(GOOD + text), says, refused=refused)


def _ensemble(steps: str, head: str = "") -> dict[str, bytes]:
    text = 'name: "e"\nplatform: "ensemble"\nmax_batch_size: 4\n' + INPUT + OUTPUT + head
    return {
        **_model(GOOD),
        "e/config.pbtxt": f"{text}ensemble_scheduling {{\n{steps}\n}}\n".encode(),
        "e/1/README": b"",
    }


def _step(model: str = "m", inputs: str = 'key: "a" value: "a"', outputs: str = 'key: "b" value: "b"') -> str:
    return f'step {{ model_name: "{model}" model_version: -1 input_map {{ {inputs} }} output_map {{ {outputs} }} }}'


CASES: Mapping[str, Case] = {
    "unknown field": _added(
        "max_batch: 4\n", 'config.pbtxt:7:1: error: Message type "inference.ModelConfig" has no field'
    ),
    "placeholder": _added(
        "response_cache { enable: ${cache} }\n", "config.pbtxt:7:26: error: `${cache}` is a placeholder"
    ),
    "name is not the folder": Case(
        _model(GOOD.replace('"m"', '"n"')), ("config.pbtxt:1:7: error: the model `n` stands in the folder `m`",)
    ),
    "no backend": Case(
        {"m/config.pbtxt": GOOD.replace('backend: "python"\n', "").encode(), "m/1/weights.bin": b""},
        ("m/config.pbtxt: error: no backend",),
    ),
    "no version": Case({"m/config.pbtxt": GOOD.encode()}, ("m/config.pbtxt: error: no version folder",)),
    "version with a leading zero": Case(
        {"m/config.pbtxt": GOOD.encode(), "m/01/model.py": MODEL_PY}, ("m/config.pbtxt: error: no version folder",)
    ),
    "no model file": Case(
        {"m/config.pbtxt": GOOD.encode(), "m/1/other.py": MODEL_PY},
        ("config.pbtxt:2:10: error: version 1 has no `model.py`",),
        refused=None,
    ),
    "no default file": _added(
        'default_model_filename: "x.py"\n', "config.pbtxt:7:25: error: version 1 has no `x.py`", refused=None
    ),
    "negative batch": Case(
        _model(GOOD.replace("size: 4", "size: -1")), ("config.pbtxt:3:17: error: `max_batch_size` is below 0",)
    ),
    "preferred above the largest batch": _added(
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] }\n",
        "config.pbtxt:7:47: error: a preferred batch of 8 cannot be made",
    ),
    "preferred of nothing": _added(
        "dynamic_batching { preferred_batch_size: 0 }\n", "config.pbtxt:7:42: error: a preferred batch of 0"
    ),
    "priority without a default": _added(
        "dynamic_batching { priority_levels: 3 }\n", "config.pbtxt:7:1: error: the default priority level is 0"
    ),
    "order and priorities": _added(
        "dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true }\n",
        "config.pbtxt:7:84: error: requests cannot keep their order and have priorities",
    ),
    "order and delay": _added(
        "dynamic_batching { preserve_ordering: true\n"
        "  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 } }\n",
        "config.pbtxt:7:39: error: requests cannot keep their order and be delayed",
    ),
    "two ways to batch": _added(
        "dynamic_batching { }\nsequence_batching { }\n",
        'config.pbtxt:8:1: error: Field "sequence_batching" is specified',
    ),
    "sequences and a cache": _added(
        "sequence_batching { }\nresponse_cache { enable: true }\n", "config.pbtxt:8:1: error: the response cache is on"
    ),
    "a cache for many answers": _added(
        "model_transaction_policy { decoupled: true }\nresponse_cache { enable: true }\n",
        "config.pbtxt:8:1: error: the response cache is on for a decoupled model",
    ),
    "gpus on the CPU": Case(
        _model(GOOD.replace("KIND_CPU", "KIND_CPU gpus: [ 0 ]")), ("config.pbtxt:6:41: error: `gpus` with KIND_CPU",)
    ),
    "a GPU that is not there": Case(
        _model(GOOD.replace("KIND_CPU", "KIND_GPU")), ("config.pbtxt:6:24: error: instances on a GPU",)
    ),
    "a TensorRT profile": Case(
        _model(GOOD.replace("KIND_CPU", 'KIND_CPU profile: "0"')),
        ("config.pbtxt:6:42: error: `profile` is TensorRT's",),
    ),
    "input without a name": Case(
        _model(GOOD.replace('name: "a" ', "")), ("config.pbtxt:4:1: error: the input has no `name`",)
    ),
    "input without a type": Case(
        _model(GOOD.replace("data_type: TYPE_FP32 dims: [ 2 ] }\no", "dims: [ 2 ] }\no")),
        ("config.pbtxt:4:1: error: the input `a` has no `data_type`",),
    ),
    "output without dims": Case(
        _model(HEAD + INPUT + 'output { name: "b" data_type: TYPE_FP32 }\n'),
        ("config.pbtxt:5:1: error: the output `b` has no `dims`",),
    ),
    "dimension of zero": Case(
        _model(HEAD + INPUT.replace("[ 2 ]", "[ 3, 0 ]") + OUTPUT),
        ("config.pbtxt:4:51: error: the input `a` has a dimension of 0",),
    ),
    "reshape of another size": Case(
        _model(HEAD + INPUT.replace("[ 2 ]", "[ 2, -1 ] reshape { shape: [ -1, 3 ] }") + OUTPUT),
        ("config.pbtxt:4:56: error: the input `a` cannot be reshaped from [2, -1] to [-1, 3]",),
    ),
    "scalar without a batch": Case(
        _model((HEAD + INPUT.replace("[ 2 ]", "[ 1 ] reshape { shape: [ ] }") + OUTPUT).replace("size: 4", "size: 0")),
        ("config.pbtxt:4:52: error: the input `a` is reshaped to nothing",),
    ),
    "image format without three dimensions": Case(
        _model(HEAD + INPUT.replace("dims", "format: FORMAT_NHWC dims") + OUTPUT),
        ("config.pbtxt:4:48: error: the input `a` has a format of images and 1 dimensions",),
    ),
    "shape tensor outside TensorRT": Case(
        _model(HEAD + INPUT.replace("dims", "is_shape_tensor: true dims") + OUTPUT),
        ("config.pbtxt:4:57: error: the input `a` has `is_shape_tensor`",),
    ),
    "two inputs of one name": Case(
        _model(HEAD + INPUT + INPUT + OUTPUT),
        ("config.pbtxt:5:15: error: a second input is called `a`",),
        refused=False,
    ),
    "batch input from nowhere": _added(
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "c" data_type: TYPE_FP32 source_input: "x" }\n',
        "config.pbtxt:7:93: error: no input `x`",
    ),
    "version that is not there": _added(
        "version_policy { specific { versions: [ 1, 3 ] } }\n",
        "config.pbtxt:7:44: error: no version folder 3",
        refused=False,
    ),
    "no version served": _added(
        "version_policy { latest { num_versions: 0 } }\n", "config.pbtxt:7:18: error: no version would be served"
    ),
    "labels that are not there": Case(
        _model(HEAD + INPUT + OUTPUT.replace("dims", 'label_filename: "l.txt" dims')),
        ("config.pbtxt:5:57: error: no file `l.txt`",),
    ),
    "warm-up with a size left open": _added(
        'model_warmup { name: "w" batch_size: 1 '
        'inputs { key: "a" value { data_type: TYPE_FP32 dims: -1 zero_data: true } } }\n',
        "config.pbtxt:7:93: error: the warm-up's `a` has a dimension of any size",
    ),
    "warm-up of another type": _added(
        'model_warmup { name: "w" batch_size: 1 '
        'inputs { key: "a" value { data_type: TYPE_INT32 dims: 2 zero_data: true } } }\n',
        "config.pbtxt:7:77: error: the warm-up's `a` has another data type",
    ),
    "warm-up without data": _added(
        'model_warmup { name: "w" batch_size: 1 inputs { key: "a" value { data_type: TYPE_FP32 dims: 2 } } }\n',
        "config.pbtxt:7:40: error: the warm-up's `a` has no data",
    ),
    "warm-up without its file": _added(
        'model_warmup { name: "w" batch_size: 1\n'
        '  inputs { key: "a" value { data_type: TYPE_FP32 dims: 2 input_data_file: "f" } } }\n',
        "config.pbtxt:8:75: error: no file `warmup/f`",
    ),
    "warm-up of another model": _added(
        'model_warmup { name: "w" batch_size: 1 '
        'inputs { key: "z" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } }\n',
        "config.pbtxt:7:1: error: the warm-up has no input `a`",
        "config.pbtxt:7:40: error: the warm-up has an input `z`",
    ),
    "metric without buckets": _added(
        'model_metrics { metric_control { metric_identifier { family: "f" } } }\n',
        "config.pbtxt:7:17: error: a metric without `buckets`",
    ),
    "half an ensemble": Case(
        {"e/config.pbtxt": b'name: "e"\nplatform: "ensemble"\n' + (INPUT + OUTPUT).encode(), "e/1/README": b""},
        ("config.pbtxt:2:11: error: half an ensemble",),
        load="e",
    ),
    "ensemble with instances": Case(
        _ensemble(_step(), "instance_group { }\n"),
        ("e/config.pbtxt:6:1: error: an ensemble has no `instance_group`",),
        load="e",
    ),
    "ensemble of a missing model": Case(
        _ensemble(_step("mm")), ("e/config.pbtxt:7:20: error: no model `mm` in this repository\n",), load="e"
    ),
    "ensemble with an unmapped input": Case(
        _ensemble(_step(inputs='key: "x" value: "a"')),
        (
            "e/config.pbtxt:7:1: error: nothing is mapped to the input `a` of `m`",
            "e/config.pbtxt:7:42: error: `m` has no input `x`",
        ),
        load="e",
    ),
    "ensemble whose output nobody writes": Case(
        _ensemble(_step(outputs='key: "b" value: "c"')),
        (
            "e/config.pbtxt:5:1: error: nothing writes the ensemble's output `b`",
            "e/config.pbtxt:7:76: error: nothing uses the ensemble's tensor `c`",
        ),
        load="e",
    ),
    "ensemble in a circle": Case(
        _ensemble(_step(inputs='key: "a" value: "c"', outputs='key: "b" value: "c"') + "\n" + _step()),
        ("e/config.pbtxt:7:1: error: the step `m` waits for itself",),
        load="e",
    ),
    "ensemble of another type": Case(
        _ensemble(_step()) | {"m/config.pbtxt": GOOD.replace("FP32", "INT32").encode()},
        (
            "e/config.pbtxt:7:42: error: the tensor `a` is TYPE_FP32 in the ensemble and TYPE_INT32 in `m`",
            "e/config.pbtxt:7:76: error: the tensor `b` is TYPE_FP32 in the ensemble and TYPE_INT32 in `m`",
        ),
        load="e",
    ),
    "ensemble of larger batches": Case(
        _ensemble(_step()) | {"m/config.pbtxt": GOOD.replace("size: 4", "size: 2").encode()},
        ("e/config.pbtxt:7:20: error: `m` takes batches of 2 at most",),
        load="e",
    ),
}
