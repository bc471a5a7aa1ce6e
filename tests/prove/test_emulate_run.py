"""An artifact on an emulated 64-bit ARM against this machine: what agrees, what does not, and how a run dies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from emulated_case import bench_of, compared, emulated, sides, subject_of
from encoder_models import write_encoder, write_reranker
from onnx import TensorProto, helper, numpy_helper
from proof_models import compile_checkpoint, compile_model, overwrite

from edgec.errors import InputError, ToolError
from edgec.prove.emulated.checks import MAX_KL, emulation_checks, emulation_limits
from edgec.prove.emulated.run import emulate, prepared, run_side
from edgec.prove.emulated.subject import EmulatedSubject, Emulation, drawn_inputs
from edgec.prove.held_out import built_in_text
from edgec.source.local import open_local


@pytest.fixture(scope="module")
def docs_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small real model in 4 bits."""
    return compile_model(tmp_path_factory.mktemp("docs-llama"), "q4_0")


@emulated
def test_a_decoder_agrees_and_is_found_again(docs_llama: Path, toolchains_root: Path, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, toolchains_root)
    found = emulate(subject_of(docs_llama), bench)
    checks = {check.name: check for check in emulation_checks(found)}
    assert all(check.passed for check in checks.values())
    assert 0 < checks["emulated cortex-a76: KL divergence"].measured < MAX_KL / 10
    assert checks["emulated cortex-a76: top-1 agreement"].measured > 0.95
    assert found.label.startswith("emulated Cortex-A76 (qemu ")
    assert found.machine != "aarch64"
    assert "xllamacpp" in found.runtime
    kernels, dotprod = emulation_limits(found)
    assert f"{found.label}, not verified on hardware" in kernels.why
    assert "no dot-product instructions" in dotprod.why
    (kept,) = bench.results.iterdir()
    kept.write_text(json.dumps({**found.found, "rows": 1234}))
    again = emulate(subject_of(docs_llama), bench)
    assert (found.kept, again.kept, again.found["rows"]) == (False, True, 1234)
    # What is no result is run again.
    kept.write_text('{"rows": 1}')
    assert emulate(subject_of(docs_llama), bench) == found


@emulated
def test_a_damaged_file_differs(docs_llama: Path, toolchains_root: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(docs_llama.read_bytes())
    overwrite(damaged, "blk.0.ffn_down.weight", b"\x11\x2e")
    bench = bench_of(tmp_path, toolchains_root)
    found = compared(bench, subject_of(docs_llama), subject_of(damaged), tmp_path)
    failed = [c for c in emulation_checks(Emulation(subject_of(damaged), "7.2", found)) if not c.passed]
    assert "emulated cortex-a76: KL divergence" in [check.name for check in failed]
    assert all(check.hint for check in failed)


@emulated
def test_encoders_and_rerankers_agree(toolchains_root: Path, tmp_path: Path) -> None:
    bench, lines = bench_of(tmp_path, toolchains_root), built_in_text().splitlines()
    for kind, write in (("encoder", write_encoder), ("reranker", write_reranker)):
        model = compile_checkpoint(open_local(write(tmp_path / kind, lines)), tmp_path / f"{kind}-gguf", "q8_0")
        checks = emulation_checks(emulate(subject_of(model, kind), bench))
        assert len(checks) == 3
        assert checks[0].name == "emulated cortex-a76: token ids"
        assert all(check.passed for check in checks), checks


def write_onnx(folder: Path) -> tuple[Path, bytes]:
    """An encoder of one INT8 product per token, and its tokenizer."""
    words = sorted(set(built_in_text().split()))
    vocabulary = {"[UNK]": 0, **{word: i + 1 for i, word in enumerate(words)}}
    rng = np.random.default_rng(7)
    table = rng.normal(size=(len(vocabulary), 32)).astype(np.float32)
    weight = rng.integers(-127, 128, size=(32, 32)).astype(np.int8)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("DynamicQuantizeLinear", ["embedded"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "weight", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["last_hidden_state"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", 32])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    return folder / "model.onnx", json.dumps(tokenizer).encode()


@emulated
def test_an_onnx_encoder_agrees(toolchains_root: Path, tmp_path: Path) -> None:
    model, tokenizer = write_onnx(tmp_path)
    subject = subject_of(model, "encoder", format="onnx", tokenizer=tokenizer)
    found = emulate(subject, bench_of(tmp_path, toolchains_root))
    checks = emulation_checks(found)
    assert all(check.passed for check in checks), found
    # Both sides are given the ids: that they are the same shows nothing.
    assert [c.name.partition(": ")[2] for c in checks] == ["outputs not finite", "smallest cosine"]
    assert found.found["min_cosine"] > 0.999
    assert found.runtime == "onnxruntime 1.26.0"
    assert [gap.what for gap in found.gaps] == ["the proof's version of onnxruntime on 64-bit ARM"]


@emulated
def test_texts_are_as_long_as_the_model_takes(toolchains_root: Path, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, toolchains_root)
    model, tokenizer = write_onnx(tmp_path)
    # Its longest text has 18.
    for context, expected in ((5, 5), (512, 18), (None, 18)):
        subject = subject_of(model, "encoder", format="onnx", tokenizer=tokenizer, context=context)
        texts = prepared(subject, sides(bench)[0], tmp_path, bench)["texts"]
        assert max(len(text["ids"]) for text in texts) == expected, texts


def write_computed(path: Path, operator: str, ports: dict[str, list[int]]) -> EmulatedSubject:
    """A graph of one operator; whole numbers are its second input."""
    kinds = (TensorProto.FLOAT, TensorProto.INT64)
    inputs = [helper.make_tensor_value_info(n, k, s) for (n, s), k in zip(ports.items(), kinds, strict=False)]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(operator, list(ports), ["y"])], "g", inputs, [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    told = [{"name": n, "dtype": d, "shape": s} for (n, s), d in zip(ports.items(), ("float32", "int64"), strict=False)]
    return subject_of(path, "graph", format="onnx", inputs=drawn_inputs({"inputs": told}, None))


@emulated
def test_drawn_inputs_that_do_not_suit_a_graph_show_nothing(toolchains_root: Path, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, toolchains_root)
    with pytest.raises(InputError, match=r"of 4 outputs of drawn inputs, 4 have NaN") as undefined:
        emulate(write_computed(tmp_path / "log.onnx", "Log", {"x": [1, 8]}), bench)
    assert "leave out the emulation of this artifact" in str(undefined.value)
    assert not bench.results.exists()
    with pytest.raises(ToolError, match="the native run of shape failed") as died:
        emulate(write_computed(tmp_path / "shape.onnx", "Reshape", {"x": [1, 8], "k": [2]}), bench)
    assert "drawn inputs (waves around zero, whole numbers 0 and 1)" in str(died.value)


def write_graph(path: Path, *, bias: float = 0.0, top: float = np.inf) -> EmulatedSubject:
    """Of an image: a picture, a mask that has infinities, and the place of the largest number."""
    node, rng = helper.make_node, np.random.default_rng(3)
    weights = {
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "bias": np.full(4, bias, np.float32),
        "zero": np.zeros((), np.float32), "top": np.array(top, np.float32),
    }  # fmt: skip
    nodes = [
        node("Conv", ["image", "kernel", "bias"], ["picture"], pads=[1, 1, 1, 1]),
        node("Greater", ["picture", "zero"], ["bright"]),
        node("Where", ["bright", "top", "picture"], ["mask"]),
        node("ArgMax", ["picture"], ["place"], axis=1),
    ]
    ports = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("image", TensorProto.FLOAT, [1, 3, 8, 8]),
            ("picture", TensorProto.FLOAT, [1, 4, 8, 8]),
            ("mask", TensorProto.FLOAT, [1, 4, 8, 8]),
            ("place", TensorProto.INT64, [1, 1, 8, 8]),
        )
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    port = {"name": "image", "dtype": "float32", "shape": [1, 3, 8, 8]}
    image = {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2], "channels_last": False}
    return subject_of(path, "graph", format="onnx", inputs=drawn_inputs({"inputs": [port]}, image))


@emulated
def test_a_graph_agrees_in_every_output_and_a_damaged_one_does_not(toolchains_root: Path, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, toolchains_root)
    whole = write_graph(tmp_path / "whole.onnx")
    good = compared(bench, whole, whole, tmp_path)
    # Three outputs of four samples; an infinity is right where both have it.
    assert (good["rows"], good["broken"], good["equal"]) == (12, 0, 1)
    assert good["min_cosine"] > 0.99999
    for there, missed in (
        (write_graph(tmp_path / "brighter.onnx", bias=4), {"outputs not finite", "smallest cosine"}),
        (write_graph(tmp_path / "finite.onnx", top=9), {"outputs not finite"}),
    ):
        found = compared(bench, whole, there, tmp_path)
        failed = {c.name.partition(": ")[2] for c in emulation_checks(Emulation(there, "7.2", found)) if not c.passed}
        assert failed == missed


@emulated
def test_a_crash_names_its_signal_and_its_log(docs_llama: Path, toolchains_root: Path, tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text("import ctypes\ndef run(request, progress):\n    ctypes.string_at(0)\n")
    bench, subject = bench_of(tmp_path, toolchains_root), subject_of(docs_llama)
    native, arm = sides(bench)
    with pytest.raises(ToolError, match=r"(?s)the emulated run of q4_0 failed: qemu-\S+ was killed by SIGSEGV") as died:
        run_side(arm, subject, prepared(subject, native, tmp_path, bench), tmp_path, bench, script=script)
    assert f"the log is {bench.logs / 'emulation-emulated.log'}" in str(died.value)
    assert "a newer qemu" in str(died.value)


@emulated
def test_what_does_not_end_is_ended(docs_llama: Path, toolchains_root: Path, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, toolchains_root)
    with pytest.raises(ToolError, match=r"did not end within 1 s") as late:
        emulate(subject_of(docs_llama), bench, timeout_s=1)
    assert "seconds for each token of a large model" in str(late.value)
    assert not bench.results.exists()


@emulated
def test_a_processor_that_qemu_does_not_know(docs_llama: Path, toolchains_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cortex-a1234"):
        emulate(subject_of(docs_llama, cpu="cortex-a1234"), bench_of(tmp_path, toolchains_root))


@emulated
def test_a_file_that_is_no_model(toolchains_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ToolError, match="the native run of broken failed"):
        emulate(subject_of(broken), bench_of(tmp_path, toolchains_root))


def test_what_has_no_runtime_is_refused(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, tmp_path)
    with pytest.raises(InputError, match="no runtime of `rknn` runs in qemu"):
        emulate(subject_of(tmp_path / "m.rknn", format="rknn"), bench)
    for kind, more, said in (
        ("encoder", {}, r"there is no tokenizer\.json"),
        ("decoder", {"tokenizer": b"{}"}, r"no config\.json says how wide its heads are"),
        ("decoder", {"tokenizer": b"{}", "config": b'{"hidden_size": 64}'}, r"no config\.json says"),
        ("classifier", {}, "does not say what goes in"),
        ("graph", {}, "does not say what goes in"),
    ):
        with pytest.raises(InputError, match=said):
            emulate(subject_of(tmp_path / "m.onnx", kind, format="onnx", **more), bench)
