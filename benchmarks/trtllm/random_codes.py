"""A quantized checkpoint of random codes with the shape of a plain one.

Usage: random_codes.py PLAIN OUT awq|smoothquant
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np

from edgec.source.local import open_local
from edgec.source.safetensors_file import NUMPY_DTYPES, SafetensorsFile, TensorSpec, plan_safetensors

_GROUP = 128
_SETTINGS = {
    "awq": {"quant_method": "awq", "bits": 4, "group_size": _GROUP, "version": "gemm", "zero_point": True},
    "smoothquant": {"quant_method": "modelopt", "quant_algo": "W8A8_SQ_PER_CHANNEL"},
}


def specs(name: str, rows: int, columns: int, kind: str) -> list[TensorSpec]:
    """The tensors of one linear."""
    if kind == "awq":
        return [
            TensorSpec(f"{name}.qweight", "I32", (columns, rows // 8)),
            TensorSpec(f"{name}.qzeros", "I32", (columns // _GROUP, rows // 8)),
            TensorSpec(f"{name}.scales", "F16", (columns // _GROUP, rows)),
        ]
    return [
        TensorSpec(f"{name}.weight", "I8", (rows, columns)),
        TensorSpec(f"{name}.weight_scale", "F32", (rows,)),
        TensorSpec(f"{name}.input_scale", "F32", (1,)),
        TensorSpec(f"{name}.pre_quant_scale", "F16", (columns,)),
    ]


def fill(file: SafetensorsFile, spec: TensorSpec, rng: np.random.Generator) -> None:
    """Random codes around zero points of 8; scales and factors of 1/64 and 1."""
    dtype = NUMPY_DTYPES[spec.dtype]
    if spec.name.endswith(("scale", "scales")):
        value = 1.0 if spec.name.endswith("pre_quant_scale") else 1 / 64
        file.write(spec.name, np.full(spec.shape, value, dtype))
    elif spec.name.endswith("qzeros"):
        file.write(spec.name, np.full(spec.shape, 0x88888888, np.uint32).view(np.int32))
    else:
        step = max(1, (32 << 20) // spec.row_bytes)
        for begin in range(0, spec.shape[0], step):
            rows = min(step, spec.shape[0] - begin)
            file.write(spec.name, random_rows(spec, (rows, *spec.shape[1:]), rng), begin)


def random_rows(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Any bits of codes; of BF16, normal numbers of deviation 0.02, as the plain checkpoint has them."""
    if spec.dtype == "BF16":
        values = rng.standard_normal(shape, np.float32) * np.float32(0.02)
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    dtype = NUMPY_DTYPES[spec.dtype]
    return np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def main() -> None:
    """Write the folder."""
    plain, out, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    header = open_local(plain, digest_file=lambda path: f"sha256:{path.stat().st_size:064x}").header
    wanted: list[TensorSpec] = []
    for name, tensor in header.tensors.items():
        if name.endswith("_proj.weight"):
            wanted += specs(name.removesuffix(".weight"), *tensor.shape, kind)
        else:
            wanted.append(TensorSpec(name, tensor.dtype, tensor.shape))
    out.mkdir()
    rng = np.random.default_rng(0)
    with SafetensorsFile(out / "model.safetensors", plan_safetensors(wanted)) as file:
        for spec in wanted:
            fill(file, spec, rng)
    config = {**json.loads((plain / "config.json").read_text()), "quantization_config": _SETTINGS[kind]}
    (out / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()
