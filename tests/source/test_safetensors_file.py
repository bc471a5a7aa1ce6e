"""Files written row by row are what the reference implementation writes and reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgec.source.safetensors import read_header
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors

SPECS = (TensorSpec("a", "F16", (4, 3)), TensorSpec("b", "I32", (2,)), TensorSpec("scalar", "F32", (1,)))


def test_rows_in_any_order(tmp_path: Path) -> None:
    layout = plan_safetensors(SPECS, {"made_by": "a test"})
    a = np.arange(12, dtype="<f2").reshape(4, 3)
    path = tmp_path / "model.safetensors"
    with SafetensorsFile(path, layout) as file:
        file.write("scalar", np.array([2.5], dtype="<f4"))
        file.write("a", a[2:], 2)
        file.write("b", np.array([7, -7], dtype="<i4"))
        file.write("a", a[:2])
    data = path.read_bytes()
    assert len(data) == layout.size_bytes
    assert data[layout.offsets["a"] :][: a.nbytes] == a.tobytes()
    assert layout.offsets["a"] % 8 == 0


def test_header_is_read_back(tmp_path: Path) -> None:
    layout = plan_safetensors([TensorSpec("w", "BF16", (2, 2))])
    with SafetensorsFile(tmp_path / "x", layout) as file:
        file.write("w", np.zeros((2, 2), dtype="<u2"))
    (info,) = read_header(tmp_path / "x", file="x").values()
    assert (info.name, info.shape, info.offset) == ("w", (2, 2), layout.offsets["w"])


def _write_some(path: Path) -> None:
    with SafetensorsFile(path, plan_safetensors(SPECS)) as file:
        file.write("a", np.zeros((3, 3), dtype="<f2"))
        file.write("scalar", np.zeros(1, dtype="<f4"))


def test_a_hole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not written, or not once: a, b$"):
        _write_some(tmp_path / "x")


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        (np.zeros((4, 3), dtype="<f4"), 0),
        (np.zeros((4, 2), dtype="<f2"), 0),
        (np.zeros((4, 3), dtype="<f2"), 1),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, rows: np.ndarray, first: int) -> None:
    file = SafetensorsFile(tmp_path / "x", plan_safetensors(SPECS))
    with pytest.raises(ValueError, match=r"^a: "):
        file.write("a", rows, first)
