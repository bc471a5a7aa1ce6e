"""The weights of an exported folder, read back by their Hugging Face names: what the device's kernels multiply with.

Rule: everything comes from the exported bytes, found by the graph's own wiring; nothing of the exporter is used.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgec.formats.edgellm.fragments import ROWS_PER_TILE, TILE_IN, TILE_OUT, tiles, unpack_fragments
from edgec.formats.edgellm.layout import EMBEDDING_FILE
from edgec.formats.edgellm.onnx_file import DATA_FILE, MODEL_FILE, damaged, read_exported
from edgec.formats.edgellm.shape import Linear, ModelShape
from edgec.formats.edgellm.tensor_data import TensorData
from edgec.formats.edgellm.wiring import Weight, trace
from edgec.source.model import DType
from edgec.source.onnx_graph import FLOAT16, Initializer
from edgec.source.safetensors import read_header

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head"
_ATTENTION_PARTS = ("q_proj", "k_proj", "v_proj")


class ExportedWeights:
    """An exported model's weights; a context manager. Rows are output channels; any range of them can be read.

    Raises ToolError for a graph that is not the decoder of `shape`, and for tensors that are not whole.
    """

    def __init__(self, folder: Path, shape: ModelShape) -> None:
        self.shape = shape
        self.graph = read_exported(folder / MODEL_FILE)
        self.wiring = trace(self.graph, shape, folder / MODEL_FILE)
        self._by_name = {linear.name: linear for linear in shape.linears()}
        self._by_name[HEAD] = Linear(HEAD, shape.vocabulary, shape.hidden)
        self._table = _embedding(folder / EMBEDDING_FILE, shape)
        self.data = TensorData(folder / DATA_FILE)
        try:
            self.embeddings = TensorData(folder / EMBEDDING_FILE)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ExportedWeights:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.embeddings.close()
        self.close()

    def close(self) -> None:
        """Closes the data file."""
        self.data.close()

    @property
    def linears(self) -> tuple[Linear, ...]:
        """All linear layers, the output layer last."""
        return tuple(self._by_name.values())

    def weight(self, name: str) -> tuple[Weight, int]:
        """How a linear is stored, and which of the stored output channels is its first."""
        if name in self.wiring.linears:
            return self.wiring.linears[name], 0
        attention, _, part = name.rpartition(".")
        before = _ATTENTION_PARTS[: _ATTENTION_PARTS.index(part)]
        first = sum(self._by_name[f"{attention}.{other}"].out_features for other in before)
        return self.wiring.linears[f"{attention}.qkv_proj"], first

    def codes(self, name: str, begin: int, end: int) -> NDArray[np.int8]:
        """Signed codes of output channels [begin, end) of a quantized linear, by the model's own input channels."""
        weight, first = self.weight(name)
        if weight.kind == "int8":
            return self.data.rows(weight.codes, first + begin, first + end).view(np.int8)
        columns = self._by_name[name].in_features
        block_rows = tiles(columns, TILE_IN) * ROWS_PER_TILE
        block = begin // TILE_OUT
        stored = self.data.rows(weight.codes, block * block_rows, tiles(end, TILE_OUT) * block_rows)
        codes = unpack_fragments(stored.view(np.int8), columns)
        codes = codes[begin - block * TILE_OUT : end - block * TILE_OUT, :columns]
        if weight.order is None:
            return codes
        ordered = np.empty_like(codes)
        ordered[:, self.data.whole(weight.order)] = codes
        return ordered

    def scales(self, name: str, begin: int, end: int) -> NDArray[np.float32]:
        """Scales of output channels [begin, end): x groups, or x 1."""
        weight, _ = self.weight(name)
        if weight.scales is None:
            raise ValueError(f"{name} is not quantized")
        if weight.kind == "int8":
            return self.data.rows(weight.scales, begin, end).astype(np.float32).reshape(-1, 1)
        return self.data.columns(weight.scales, begin, end).astype(np.float32)

    def rows(self, name: str, begin: int, end: int) -> NDArray[np.float16]:
        """Weights of output channels [begin, end), in float16 as the kernels use them.

        Smoothing of an INT4 layer's input is in them; that of an INT8 layer's comes before rounding, and is not.
        """
        weight, first = self.weight(name)
        if weight.kind == "plain":
            return self.data.rows(weight.codes, first + begin, first + end).view(np.float16)
        if weight.kind == "turned":
            return self.data.columns(weight.codes, first + begin, first + end).view(np.float16)
        codes, scales = self.codes(name, begin, end), self.scales(name, begin, end)
        groups = codes.reshape(end - begin, scales.shape[1], -1).astype(np.float32)
        values = (groups * scales[:, :, None]).reshape(end - begin, -1)
        if weight.kind == "int4" and weight.pre_scale is not None:
            values *= self.data.whole(weight.pre_scale).astype(np.float32)
        return values.astype(np.float16)

    def embedding(self, begin: int, end: int) -> NDArray[np.float16]:
        """Rows [begin, end) of the table of token embeddings."""
        return self.embeddings.rows(self._table, begin, end).view(np.float16)

    def bias(self, name: str) -> NDArray[np.generic] | None:
        """The bias of a linear."""
        weight, first = self.weight(name)
        if weight.bias is None:
            return None
        return self.data.whole(weight.bias)[first : first + self._by_name[name].out_features]

    def norm(self, tensor: str) -> NDArray[np.generic]:
        """The weights of a norm, by tensor name."""
        return self.data.whole(self.wiring.norms[tensor])

    def pre_scale(self, name: str) -> NDArray[np.generic] | None:
        """What the linear's input is multiplied by."""
        weight, _ = self.weight(name)
        return None if weight.pre_scale is None else self.data.whole(weight.pre_scale)

    def input_scale(self, name: str) -> float | None:
        """The scale with which the linear's input is rounded to 8 bits; None when it is not."""
        weight, _ = self.weight(name)
        return None if weight.input_scale is None else float(self.data.whole(weight.input_scale).reshape(-1)[0])


def _embedding(path: Path, shape: ModelShape) -> Initializer:
    """Where the table of embeddings lies."""
    tensors = read_header(path, file=path.name)
    table = tensors.get("embedding")
    if table is None or table.dtype is not DType.F16 or table.shape != (shape.vocabulary, shape.hidden):
        raise damaged(f"has no table of {shape.vocabulary} x {shape.hidden} float16 embeddings", path)
    return Initializer("embedding", FLOAT16, table.shape, table.offset, table.nbytes, None, path.name)
