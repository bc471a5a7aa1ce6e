"""The Triton model of an ONNX file: Triton's onnxruntime backend, or the python backend for servers without it.

Rule: pure. The caller puts the file itself at `Model.expects`; both backends read it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.deploy.triton.interface import Tensor
from edgec.deploy.triton.model_config import DynamicBatching, ModelConfig, Queue, WarmUp, WarmUpInput
from edgec.deploy.triton.repository import Model
from edgec.deploy.triton.templates import python_files


@dataclass(frozen=True)
class OnnxSettings:
    """`inputs`, `outputs`: the graph's, without the batch dimension. `threads`: of one run (intra-op).

    `max_delay_us`: how long a request waits for others of its shape. `device`: `gpu` needs the onnxruntime backend, as
    does an accelerator. `warm_up_size`: what stands for a dimension of any size in the warm-up; None for no warm-up.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    threads: int
    queue: Queue
    version: int = 1
    served_versions: int = 1
    max_batch_size: int = 8
    max_delay_us: int = 2_000
    instances: int = 1
    backend: Literal["onnxruntime", "python"] = "onnxruntime"
    device: Literal["cpu", "gpu"] = "cpu"
    accelerator: Literal["openvino", "tensorrt"] | None = None
    warm_up_size: int | None = 8

    def __post_init__(self) -> None:
        if self.backend == "python" and (self.device == "gpu" or self.accelerator is not None):
            raise ValueError("the python backend runs ONNX on the CPU, without an accelerator")
        if self.accelerator is not None and (self.accelerator == "tensorrt") != (self.device == "gpu"):
            raise ValueError("`tensorrt` accelerates on a GPU, `openvino` on a CPU")


def onnx_model(settings: OnnxSettings) -> Model:
    """The model's folder; `<version>/model.onnx` is expected from the caller."""
    config = ModelConfig(
        name=settings.name,
        backend=settings.backend,
        inputs=settings.inputs,
        outputs=settings.outputs,
        max_batch_size=settings.max_batch_size,
        instances=settings.instances,
        instance_kind="KIND_GPU" if settings.device == "gpu" else "KIND_CPU",
        served_versions=settings.served_versions,
        batching=DynamicBatching(settings.queue, settings.max_delay_us) if settings.max_batch_size > 0 else None,
        warm_up=() if settings.warm_up_size is None else (_warm_up(settings.inputs, settings.warm_up_size),),
        parameters={"intra_op_thread_count": str(settings.threads)},
        accelerator=settings.accelerator,
    )
    code = python_files("onnx") if settings.backend == "python" else {}
    files = {f"{settings.version}/{name}": data for name, data in code.items()}
    return Model(config, files, expects=(f"{settings.version}/model.onnx",))


def _warm_up(inputs: tuple[Tensor, ...], size: int) -> WarmUp:
    given = (WarmUpInput(t.name, t.data_type, tuple(size if d < 0 else d for d in t.dims)) for t in inputs)
    return WarmUp("zeros", tuple(given))
