"""Safetensors headers: a wrong one is an InputError that names file and tensor, a right one is read exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from handmade import MODEL, safetensors_bytes, with_header
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from edgec.errors import InputError
from edgec.source.model import DType, TensorInfo
from edgec.source.safetensors import MAX_HEADER_BYTES, parse_header, read_header

FOUR = b"\0\0\0\0"


def parse(data: bytes) -> dict[str, TensorInfo]:
    return parse_header(data, file_size=len(data), file="m.safetensors")


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def test_reads_the_real_model_as_the_reference_does() -> None:
    tensors = read_header(MODEL / "model.safetensors", file="model.safetensors")
    with safe_open(MODEL / "model.safetensors", framework="numpy") as reference:
        assert sorted(tensors) == sorted(reference.keys())
        for name in tensors:
            assert list(tensors[name].shape) == reference.get_slice(name).get_shape()
            assert tensors[name].dtype == reference.get_slice(name).get_dtype()
    last = list(tensors.values())[-1]
    assert last.offset + last.nbytes == (MODEL / "model.safetensors").stat().st_size


def test_gives_offsets_from_the_start_of_the_file() -> None:
    data = safetensors_bytes({"b": ("F16", [2], b"abcd"), "a": ("BF16", [1, 1], b"ef"), "s": ("F32", [], b"ghij")})
    tensors = parse(data)
    assert list(tensors) == ["b", "a", "s"]
    assert {n: data[t.offset : t.offset + t.nbytes] for n, t in tensors.items()} == {
        "b": b"abcd",
        "a": b"ef",
        "s": b"ghij",
    }
    assert tensors["s"] == TensorInfo("s", DType.F32, (), "m.safetensors", len(data) - 4, 4)
    assert tensors["s"].elements == 1


@pytest.mark.parametrize("name", ["embeddings.position_ids", "embedder.normalization.num_batches_tracked"])
def test_buffers_that_no_model_reads_are_left_out(name: str) -> None:
    raw = bytes(16)
    tensors = parse(safetensors_bytes({name: ("I64", [1, 2], raw), "w": ("F32", [1], FOUR)}))
    assert list(tensors) == ["w"]


def test_an_empty_tensor_takes_no_bytes() -> None:
    assert parse(safetensors_bytes({"e": ("F32", [0, 4], b""), "w": ("F32", [1], FOUR)}))["e"].nbytes == 0


WRONG = {
    "empty": (b"", "m.safetensors: error: truncated header: the file has 0 bytes, a safetensors file at least 8"),
    "seven bytes": (b"1234567", "m.safetensors: error: truncated header: the file has 7 bytes"),
    "length past the end": (b"\xff\0\0\0\0\0\0\0{}", "truncated header: it announces 255 bytes, the file has 2"),
    "absurd length": (b"\xff" * 16, f"more than the {MAX_HEADER_BYTES} the format allows"),
    "git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "this is a git-LFS pointer"),
    "a pickle": (b"\x80\x02}q\x00X\x05\x00\x00\x00", "more than the 100000000 the format allows"),
    "not JSON": (with_header(b"{nope"), "the header is not JSON"),
    "not UTF-8": (with_header(b'{"\xff": 1}'), "the header is not JSON"),
    "too deep": (with_header(b"[" * 100_000), "the header is not JSON: nested too deep"),
    "a long number": (with_header(b'{"a": ' + b"1" * 5000 + b"}"), "the header is not JSON"),
    "a list": (with_header([]), "the header is not a JSON object"),
    "no tensors": (with_header({"__metadata__": {}}), "the file holds no tensors"),
    "entry is no object": (
        with_header({"w": 1}),
        "m.safetensors: tensor 'w': error: the entry must have exactly dtype",
    ),
    "entry lacks shape": (
        with_header({"w": {"dtype": "F32", "data_offsets": [0, 4]}}, FOUR),
        "exactly dtype, shape and",
    ),
    "entry has more": (with_header({"w": entry(quant=1)}, FOUR), "tensor 'w': error: the entry must have exactly"),
    "name twice": (
        with_header(b'{"w": 1, "v": 2, "w": 3}'),
        "m.safetensors: tensor 'w': error: the name stands twice in the header",
    ),
    "shape of floats": (with_header({"w": entry(shape=[1.0])}, FOUR), "shape must be a list of whole numbers"),
    "shape of booleans": (with_header({"w": entry(shape=[True])}, FOUR), "shape must be a list of whole numbers"),
    "negative shape": (with_header({"w": entry(shape=[-1])}, FOUR), "shape must be a list of whole numbers"),
    "too many dimensions": (with_header({"w": entry(shape=[1] * 9)}, FOUR), "shape has 9 dimensions"),
    "offsets reversed": (with_header({"w": entry(offsets=[4, 0])}, FOUR), "must be [begin, end] with begin <= end"),
    "three offsets": (with_header({"w": entry(offsets=[0, 2, 4])}, FOUR), "must be [begin, end]"),
    "size and shape differ": (
        with_header({"w": entry(shape=[2])}, FOUR),
        "m.safetensors: tensor 'w': error: F32 [2] takes 8 bytes, data_offsets span 4",
    ),
    "overflowing shape": (with_header({"w": entry(shape=[1 << 62, 1 << 62])}, FOUR), "bytes, data_offsets span 4"),
    "past the end": (
        with_header({"w": entry()}, b"\0\0"),
        "data_offsets [0, 4] reach past the end of the data (2 bytes)",
    ),
    "overlap": (
        with_header({"a": entry(), "b": entry(offsets=[2, 6])}, bytes(6)),
        "m.safetensors: tensor 'b': error: data_offsets overlap those of tensor 'a'",
    ),
    "a hole": (
        with_header({"a": entry(), "b": entry(offsets=[8, 12])}, bytes(12)),
        "m.safetensors: tensor 'b': error: 4 bytes before it belong to no tensor",
    ),
    "bytes at the end": (with_header({"w": entry()}, bytes(7)), "3 bytes after the last tensor belong to no tensor"),
    "unknown dtype": (with_header({"w": entry("F33")}, FOUR), "tensor 'w': error: unknown dtype 'F33'"),
    "dtype of a number": (with_header({"w": entry(32)}, FOUR), "tensor 'w': error: unknown dtype '32'"),
    "float64": (with_header({"w": entry("F64", [1], [0, 8])}, bytes(8)), "convert the checkpoint to float32 first"),
    "FP8": (with_header({"w": entry("F8_E4M3", [4])}, FOUR), "this checkpoint is quantized (FP8 or smaller)"),
    "GPTQ": (with_header({"w.qweight": entry("I32")}, FOUR), "integer weights come from AWQ, GPTQ or bitsandbytes"),
    "int8": (with_header({"w": entry("I8", [4])}, FOUR), "tensor 'w': error: dtype I8 is not one edgec compiles from"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(case: str) -> None:
    data, message = WRONG[case]
    with pytest.raises(InputError) as caught:
        parse(data)
    assert message in str(caught.value)
    assert str(caught.value).startswith("m.safetensors: ")
    assert caught.value.diagnostics[0].hint


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_never_anything_but_an_input_error(data: bytes) -> None:
    for candidate in (data, with_header(data)):
        with pytest.raises(InputError):
            parse(candidate)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["F32", "BF16", "I64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
likely = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "F4"]) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | json_values,
    }
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.text(max_size=6), likely | json_values, max_size=4), st.integers(0, 40))
def test_what_is_accepted_lies_in_the_file_without_overlap(header: dict[str, object], data_bytes: int) -> None:
    data = with_header(json.dumps(header).encode(), bytes(data_bytes))
    try:
        tensors = parse(data)
    except InputError:
        return
    position = len(data) - data_bytes
    for t in tensors.values():
        assert position <= t.offset
        assert t.nbytes == t.elements * t.dtype.itemsize
        position = t.offset + t.nbytes
    assert position <= len(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_one_changed_byte_of_a_real_header(data: st.DataObject) -> None:
    good = safetensors_bytes({f"layer.{i}.weight": ("BF16", [2, 3], bytes(12)) for i in range(3)})
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    try:
        tensors = parse(bad)
    except InputError:
        return
    assert sum(t.nbytes for t in tensors.values()) <= 36


@pytest.mark.parametrize("length", [0, 7, 8, 100, 6047, 6048, 11_000_000])
def test_every_cut_of_the_real_model_is_refused(tmp_path: Path, length: int) -> None:
    cut = tmp_path / "model.safetensors"
    cut.write_bytes((MODEL / "model.safetensors").read_bytes()[:length])
    with pytest.raises(InputError, match=r"^model\.safetensors: "):
        read_header(cut, file="model.safetensors")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_header(tmp_path / "model.safetensors", file="model.safetensors")
