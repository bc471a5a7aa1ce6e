"""The proof of ONNX encoders: on lines that nothing was calibrated on, with an answer that is not believed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from encoder_models import write_encoder

from edgec.errors import InputError, ToolError
from edgec.events import silent
from edgec.formats.onnx.encoder import read_encoder
from edgec.prove.encoder_pair.pair import EncoderPair, prove_encoder_pair
from edgec.recipe.model import Prove
from edgec.source.local import open_local
from edgec.toolchain.environments import Environment, find_toolchain

LINES = [f"a line of the held-out text, with the number {i}" for i in range(8)]


def proven(folder: Path, calibrated: list[str], code: str = "") -> None:
    """Proves a small encoder in an environment that has neither torch nor onnxruntime."""
    checkpoint = open_local(write_encoder(folder / "model", LINES))
    toolchain = find_toolchain("optimum")
    environment = Environment(toolchain, folder / "optimum-0", Path(sys.executable), toolchain.lock_digest, {})
    environment.folder.mkdir()
    pair = EncoderPair(
        name="onnx-int8_static", source=checkpoint, model=folder / "model.onnx", scheme="int8_static",
        encoder=read_encoder(checkpoint.header), settings=Prove(), held_out_text="\n".join(LINES), attempts=(),
        calibrated=frozenset(calibrated), logs=folder,
    )  # fmt: skip
    script = folder / "embed.py"
    script.write_text(f"import os, signal\ndef run(request, progress):\n    {code}\n")
    both = (environment, environment)
    prove_encoder_pair(pair, both, folder, silent, memory_mib=16, source_script=script)


def test_lines_that_were_calibrated_on_prove_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 different lines"):
        proven(tmp_path, LINES[2:])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("return {'versions': {}}", "gave an answer of another form"),
    ],
)
def test_a_comparison_that_dies_or_lies_names_its_log(tmp_path: Path, code: str, expected: str) -> None:
    with pytest.raises(ToolError) as caught:
        proven(tmp_path, [], code)
    (found,) = caught.value.diagnostics
    assert expected in found.message
    assert "onnx-proof.log" in f"{found.message} {found.hint}"
