"""Importance matrix files: the numbers llama-quantize would use, and every useless matrix refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edgec.errors import InputError
from edgec.formats.gguf.header import pack_header
from edgec.formats.gguf.imatrix_file import read_imatrix, write_imatrix
from edgec.formats.gguf.model import KeyValue, ValueType

_SUMS = {"blk.0.a.weight": np.array([3.0, 0.0, 7.0], np.float32), "blk.1.a.weight": np.ones(5, np.float32)}


def _write(path: Path, sums: dict[str, Any], counts: dict[str, int] | None = None) -> Path:
    write_imatrix(path, sums, counts or dict.fromkeys(sums, 7), datasets=["a.txt"], chunk_count=2, chunk_size=512)
    return path


def test_weights_are_sums_divided_in_float32(tmp_path: Path) -> None:
    imatrix = read_imatrix(_write(tmp_path / "i.gguf", _SUMS))
    np.testing.assert_array_equal(imatrix.weights["blk.0.a.weight"], _SUMS["blk.0.a.weight"] / np.float32(7))
    assert imatrix.weights["blk.0.a.weight"].dtype == np.float32
    assert (imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size) == (("a.txt",), 2, 512)


def test_a_matrix_nothing_was_counted_for_weighs_all_columns_alike(tmp_path: Path) -> None:
    sums = {"blk.0.a.weight": np.zeros(3, np.float32), "blk.1.a.weight": np.ones(3, np.float32)}
    path = _write(tmp_path / "i.gguf", sums, {"blk.0.a.weight": 0, "blk.1.a.weight": 2})
    np.testing.assert_array_equal(read_imatrix(path).weights["blk.0.a.weight"], [1.0, 1.0, 1.0])


def test_the_gguf_package_reads_llama_cpps_names(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(_write(tmp_path / "i.gguf", _SUMS))
    tensors = {t.name: t.data.reshape(-1).tolist() for t in reader.tensors}
    assert tensors["blk.0.a.weight.in_sum2"] == [3.0, 0.0, 7.0]
    assert tensors["blk.0.a.weight.counts"] == [7.0]
    assert reader.fields["imatrix.chunk_size"].contents() == 512


def test_the_same_matrix_is_the_same_bytes(tmp_path: Path) -> None:
    first = _write(tmp_path / "1.gguf", _SUMS)
    second = _write(tmp_path / "2.gguf", dict(reversed(_SUMS.items())))
    assert first.read_bytes() == second.read_bytes()
    assert read_imatrix(first).digest == read_imatrix(second).digest


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1.0, float("nan")], "holds NaN or infinity"),
        ([1.0, float("inf")], "holds NaN or infinity"),
        ([0.0, 0.0], "is zero for every column"),
        ([1.0, -1.0], "holds negative sums of squares"),
    ],
)
def test_a_useless_matrix_is_refused_by_name(values: list[float], problem: str, tmp_path: Path) -> None:
    bad = np.array(values, np.float32)
    with pytest.raises(InputError, match=f"importance of blk.0.a.weight {problem}"):
        _write(tmp_path / "i.gguf", {"blk.0.a.weight": bad})
    assert not (tmp_path / "i.gguf").exists()
    path = _write(tmp_path / "good.gguf", {"blk.0.a.weight": np.array([7.5, 8.5], np.float32)})
    path.write_bytes(path.read_bytes().replace(np.array([7.5, 8.5], "<f4").tobytes(), bad.astype("<f4").tobytes()))
    with pytest.raises(InputError, match=f"importance of blk.0.a.weight {problem}"):
        read_imatrix(path)


def test_a_sum_without_its_count_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "i.gguf", _SUMS)
    path.write_bytes(path.read_bytes().replace(b"blk.1.a.weight.counts", b"blk.9.a.weight.counts"))
    with pytest.raises(InputError) as caught:
        read_imatrix(path)
    assert [d.message for d in caught.value.diagnostics] == [
        "the importance of blk.1.a.weight lacks its sums or its counts",
        "the importance of blk.9.a.weight lacks its sums or its counts",
    ]


def test_another_gguf_is_no_importance_matrix(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(pack_header((KeyValue("general.type", ValueType.STRING, "model"),), ()))
    with pytest.raises(InputError, match="is no importance matrix"):
        read_imatrix(path)
