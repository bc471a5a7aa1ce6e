"""A user's own .onnx file is whole before anything runs; what is wrong names the file and the tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_models import classifier, detector, save
from onnx import TensorProto, helper

from edgec.errors import InputError
from edgec.source.onnx_model import is_graph, open_onnx


def refusal(path: Path) -> str:
    """The one message, with the place it is about and the hint."""
    with pytest.raises(InputError) as caught:
        open_onnx(path)
    (found,) = caught.value.diagnostics
    assert found.hint
    return f"{found.place}: {found.message}"


def test_what_is_read_of_a_graph(tmp_path: Path) -> None:
    path = save(detector(), tmp_path / "detector.onnx")
    opened = open_onnx(path, licence="mit")
    assert opened.root == tmp_path
    assert [f.name for f in opened.header.identity.files] == ["detector.onnx"]
    assert opened.header.graph is not None
    graph = opened.header.graph.graph
    assert (graph.producer, graph.opsets) == ("a-test", {"": 17})
    assert graph.inputs["images"].shape == (1, 3, 64, 64)
    assert graph.initializers["stem.weight"].whole_bytes == 16 * 3 * 9 * 4
    assert is_graph("models/Detector.ONNX")
    assert not is_graph("models/detector")


def test_tensors_beside_the_graph_are_part_of_the_source(tmp_path: Path) -> None:
    path = save(detector(), tmp_path / "detector.onnx", external=True)
    before = open_onnx(path).header.identity
    assert [f.name for f in before.files] == ["detector.onnx", "detector.weights"]
    beside = tmp_path / "detector.weights"
    changed = bytearray(beside.read_bytes())
    changed[100] ^= 1
    beside.write_bytes(changed)
    assert open_onnx(path).header.identity != before


@pytest.mark.parametrize("share", [0.02, 0.3, 0.999])
def test_a_file_that_is_cut_off(tmp_path: Path, share: float) -> None:
    path = save(detector(), tmp_path / "detector.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert refusal(path).startswith(f"{path}: the ONNX model is damaged")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" * 40, b"hello\n", b"{}", b"\x00" * 64])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert "the ONNX model is damaged" in refusal(path)


def test_an_empty_file_a_pointer_and_none(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    assert refusal(path).startswith(f"{path}: cannot be read")
    path.write_bytes(b"")
    assert refusal(path) == f"{path}: the file is empty"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git-LFS pointer" in refusal(path)


def test_the_missing_file_of_a_tensor_is_named(tmp_path: Path) -> None:
    path = save(detector(), tmp_path / "detector.onnx", external=True)
    (tmp_path / "detector.weights").unlink()
    message = refusal(path)
    assert message.startswith(f"{tmp_path / 'detector.weights'}: the file of the tensor '")
    assert message.endswith("' is missing")


def test_a_tensors_file_that_is_too_short(tmp_path: Path) -> None:
    path = save(detector(), tmp_path / "detector.onnx", external=True)
    beside = tmp_path / "detector.weights"
    beside.write_bytes(beside.read_bytes()[:-1])
    message = refusal(path)
    assert message.startswith(f"{beside}: the file of the tensor '")
    assert f"it has {beside.stat().st_size} bytes" in message


def test_a_tensor_with_other_bytes_than_its_shape(tmp_path: Path) -> None:
    model = classifier(1)
    tensor = next(t for t in model.graph.initializer if t.name == "c2.weight")
    tensor.raw_data = tensor.raw_data[:-4]
    message = refusal(save(model, tmp_path / "x.onnx"))
    assert "the tensor 'c2.weight' has 18428 bytes, and its shape asks for 18432" in message


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights", "a/../../weights"])
def test_a_tensor_outside_the_models_folder(tmp_path: Path, location: str) -> None:
    model = classifier(1)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "weights").write_bytes(bytes(10_000))
    (tmp_path / "m").mkdir()
    path = tmp_path / "m" / "x.onnx"
    path.write_bytes(model.SerializeToString())
    assert f"the tensor '{tensor.name}' lies in {location!r}, outside the model's folder" in refusal(path)


def test_a_graph_without_operations(tmp_path: Path) -> None:
    empty = helper.make_model(helper.make_graph([], "g", [], []))
    assert "holds no graph" in refusal(save(empty, tmp_path / "x.onnx"))
