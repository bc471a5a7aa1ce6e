"""The header writer and the reader: against each other, against the gguf package, and against damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.errors import InputError
from edgec.formats.gguf.header import TensorEntry, pack_entry, pack_header
from edgec.formats.gguf.model import KeyValue, ValueType
from edgec.formats.gguf.reader import read_gguf_header

_ENTRIES = (
    KeyValue("general.architecture", ValueType.STRING, "llama"),
    KeyValue("a.u8", ValueType.UINT8, 255),
    KeyValue("a.i8", ValueType.INT8, -128),
    KeyValue("a.u16", ValueType.UINT16, 65535),
    KeyValue("a.i16", ValueType.INT16, -32768),
    KeyValue("a.u32", ValueType.UINT32, 4294967295),
    KeyValue("a.i32", ValueType.INT32, -2147483648),
    KeyValue("a.f32", ValueType.FLOAT32, 0.5),
    KeyValue("a.bool", ValueType.BOOL, True),
    KeyValue("a.u64", ValueType.UINT64, 2**64 - 1),
    KeyValue("a.i64", ValueType.INT64, -(2**63)),
    KeyValue("a.f64", ValueType.FLOAT64, 1e-300),
    KeyValue("a.strings", ValueType.ARRAY, ("", "é", "日本語", "🙂"), ValueType.STRING),
    KeyValue("a.floats", ValueType.ARRAY, (0.25, -2.0), ValueType.FLOAT32),
    KeyValue("a.bools", ValueType.ARRAY, (True, False), ValueType.BOOL),
    KeyValue("a.none", ValueType.ARRAY, (), ValueType.INT32),
)
_TENSORS = (TensorEntry("m.weight", (3, 256), 8, 0), TensorEntry("n.weight", (5,), 0, 832))
_DATA_BYTES = 832 + 32


@pytest.fixture
def whole() -> bytes:
    return pack_header(_ENTRIES, _TENSORS) + bytes(_DATA_BYTES)


def test_what_is_written_is_read(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(whole)
    header = read_gguf_header(path)
    assert tuple(header.metadata.values()) == _ENTRIES
    assert header.data_offset % 32 == 0
    assert header.data_offset + _DATA_BYTES == header.file_bytes == len(whole)
    assert [(t.name, t.shape, t.type.label, t.nbytes) for t in header.tensors.values()] == [
        ("m.weight", (3, 256), "q8_0", 816),
        ("n.weight", (5,), "f32", 20),
    ]


def test_the_gguf_package_reads_the_same(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(whole)
    reader = gguf.GGUFReader(path)
    for entry in _ENTRIES[:-1]:
        theirs = reader.fields[entry.key].contents()
        assert (tuple(theirs) if isinstance(theirs, list) else theirs) == entry.value, entry.key
    assert [int(t.data_offset) for t in reader.tensors] == [t.offset for t in read_gguf_header(path).tensors.values()]


@pytest.mark.parametrize(
    "entry",
    [
        KeyValue("k", ValueType.UINT8, 256),
        KeyValue("k", ValueType.UINT32, -1),
        KeyValue("k", ValueType.INT32, "x"),
        KeyValue("k", ValueType.ARRAY, (1,), None),
        KeyValue("k", ValueType.ARRAY, (1, 2**40), ValueType.INT32),
    ],
)
def test_a_value_that_does_not_have_its_type_is_refused(entry: KeyValue) -> None:
    with pytest.raises(ValueError, match="k"):
        pack_entry(entry)


def test_every_cut_is_found(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    for size in [*range(0, 1200, 7), len(whole) - _DATA_BYTES, len(whole) - 33]:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            read_gguf_header(path)


@given(position=st.integers(0, 900), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_read_or_refused_never_a_crash(
    position: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(pack_header(_ENTRIES, _TENSORS) + bytes(_DATA_BYTES))
    data[position] = value
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(data)
    try:
        header = read_gguf_header(path)
    except InputError:
        return
    assert all(t.offset + t.nbytes <= len(data) for t in header.tensors.values())


def test_mistakes_are_said(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    count = struct.pack("<Q", 2**62)
    for data, message in (
        (b"GGML" + whole[4:], "wrong magic"),
        (whole[:4] + struct.pack("<I", 2) + whole[8:], "version 2"),
        (whole[:8] + count + whole[16:], "more than the file holds"),
        (whole[:16] + count + whole[24:], "more than the file holds"),
        (pack_header(_ENTRIES, (_TENSORS[0], _TENSORS[0])) + bytes(2000), "does not follow"),
        (pack_header(_ENTRIES, (TensorEntry("t", (2, 100), 8, 0),)) + bytes(2000), "cannot be"),
        (pack_header(_ENTRIES, (TensorEntry("t", (2, 100), 99, 0),)) + bytes(2000), "cannot be"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_gguf_header(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_gguf_header(tmp_path / "none.gguf")


def test_a_big_vocabulary_is_packed_at_once() -> None:
    tokens = tuple(f"token {i}" for i in range(100_000))
    packed = pack_entry(KeyValue("k", ValueType.ARRAY, tokens, ValueType.STRING))
    assert len(packed) == 8 + 1 + 4 + 12 + sum(8 + len(t) for t in tokens)
    assert packed.endswith(struct.pack("<Q", 11) + b"token 99999")
