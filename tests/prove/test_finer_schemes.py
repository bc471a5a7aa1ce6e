"""Advice where a proof is missed: never the scheme that missed it."""

from __future__ import annotations

import pytest

from edgec.prove.finer import finer_onnx, finer_rknn
from edgec.recipe.onnx import OnnxScheme
from edgec.recipe.rknn import RknnScheme


@pytest.mark.parametrize("scheme", OnnxScheme.__args__)  # type: ignore[attr-defined]
def test_another_scheme_for_onnxruntime(scheme: str) -> None:
    assert f"`{scheme}`" not in finer_onnx(scheme)
    assert f"`scheme: {scheme}`" not in finer_onnx(scheme)


@pytest.mark.parametrize("scheme", RknnScheme.__args__)  # type: ignore[attr-defined]
def test_another_scheme_for_the_npu(scheme: str) -> None:
    assert f"`{scheme}`" not in finer_rknn(scheme)
    assert f"`scheme: {scheme}`" not in finer_rknn(scheme)


def test_what_is_told() -> None:
    assert finer_onnx("int8_static") == "choose `scheme: auto`, `int8_fine` or `fp32`"
    assert finer_onnx("auto") == "choose `scheme: fp32`"
    assert finer_rknn("w8a8") == "choose `scheme: auto`, `mixed` or `fp16`"
    assert finer_rknn("fp16") == "use `format: onnx`, for the CPU"
