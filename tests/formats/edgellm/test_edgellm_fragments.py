"""The order of INT4 codes, against its definition and against the exporter's own function."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgec.formats.edgellm.fragments import ROW_BYTES, fragment_rows, unpack_fragments
from edgec.toolchain.environments import Environment, run_json

# (bit, output channels further, input channels further) of the 8 codes in a word.
_CODES = [(0, 0, 0), (4, 0, 8), (8, 32, 0), (12, 32, 8), (16, 0, 1), (20, 0, 9), (24, 32, 1), (28, 32, 9)]
_EXPORTER = """
import base64
import numpy as np
from tensorrt_edgellm.checkpoint.repacking import repack_to_cutedsl_fragment

def run(request, progress):
    codes = np.frombuffer(base64.b64decode(request["codes"]), np.int8).reshape(request["shape"])
    packed = repack_to_cutedsl_fragment(codes.astype(np.int16) + 8)
    return {"shape": list(packed.shape), "packed": base64.b64encode(packed.tobytes()).decode()}
"""


def pack_slowly(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Signed codes (out, in) as the kernel's rows, one code after another."""
    rows, columns = codes.shape
    across, down = -(-columns // 64), -(-rows // 128)
    padded = np.zeros((down * 128, across * 64), np.int64)
    padded[:rows, :columns] = codes
    words = np.zeros((down * across * 8, 128), np.uint64)
    for row in range(len(words)):
        tile, within = divmod(row, 8)
        block, pair = divmod(within, 2)
        out_tile, in_tile = divmod(tile, across)
        for word in range(128):
            output = out_tile * 128 + 64 * pair + word // 4
            input_ = in_tile * 64 + 16 * block + 2 * (word % 4)
            for bit, further_out, further_in in _CODES:
                words[row, word] |= np.uint64(int(padded[output + further_out, input_ + further_in]) + 8 << bit)
    return words.astype(np.uint32).view(np.int8)


@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (192, 256), (256, 192)])
def test_unpacking_is_the_inverse_of_packing(shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(1).integers(-8, 8, shape).astype(np.int8)
    stored = pack_slowly(codes)
    assert stored.shape == (fragment_rows(*shape), ROW_BYTES)
    unpacked = unpack_fragments(stored, shape[1])
    assert np.array_equal(unpacked[: shape[0], : shape[1]], codes)
    # What lies beyond the matrix is zero.
    assert not unpacked[shape[0] :].any()


def test_every_code_has_a_place_of_its_own() -> None:
    for code in range(0, 128 * 64, 37):
        codes = np.zeros((128, 64), np.int8)
        codes.reshape(-1)[code] = 5
        assert np.array_equal(unpack_fragments(pack_slowly(codes), 64), codes)


@pytest.mark.toolchain
@pytest.mark.heavy("edgellm")
@pytest.mark.parametrize("shape", [(64, 128), (320, 192)])
def test_the_exporter_packs_so(exporter: Environment, tmp_path: Path, shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(2).integers(-8, 8, shape).astype(np.int8)
    script = tmp_path / "pack.py"
    script.write_text(_EXPORTER)
    request = {"codes": base64.b64encode(codes.tobytes()).decode(), "shape": list(shape)}
    answer = run_json(exporter, script, request, timeout_s=300, log=tmp_path / "log")
    packed = np.frombuffer(base64.b64decode(answer["packed"]), np.int8).reshape(answer["shape"])
    assert np.array_equal(unpack_fragments(packed, shape[1])[: shape[0]], codes)
