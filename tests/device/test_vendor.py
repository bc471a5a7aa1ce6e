"""The vendor's programs are found, asked for their versions, and called as their documentation says.

The vendor's modules are recorded here, by their documented names: engine build and run not verified on hardware.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest
from device_case import edgellm_plan, trtllm_plan

from edgec.device.proof import RunnerAnswer
from edgec.device.vendor import RUNNERS, Vendor, find_vendor
from edgec.errors import DeviceError

# What tensorrt_edgellm.runtime 0.11.0 has, by its docstrings.
_EDGELLM = """
class _Native:
    class LLMBuilderConfig: pass
    class LLMGenerationRequest: pass
    class Request:
        def __init__(self, messages): self.messages = messages
    @staticmethod
    def create_text_message(role, text): return (role, text)
    class LLMBuilder:
        def __init__(self, onnx_dir, engine_dir, config):
            self.engine_dir, self.config = engine_dir, config
        def build(self):
            import json, pathlib
            pathlib.Path(self.engine_dir, "called.json").write_text(json.dumps(vars(self.config)))
            return self.config.max_batch_size != 666
    class LLMRuntime:
        def __init__(self, engine_dir, media, lora, checkpoint_dir):
            assert (media, lora) == ("", {})
        def handle_request(self, asked):
            (request,) = asked.requests
            ((role, text),) = request.messages
            assert role == "user" and not asked.apply_chat_template and asked.top_k == 1
            from types import SimpleNamespace as N
            steps = [[N(token_id=5, logprob=-0.5, piece=b"a")]] * asked.max_generate_length
            return N(output_ids=[[5] * asked.max_generate_length], prompt_token_counts=[len(text)],
                     logprobs=[steps] if asked.num_logprobs else [])
def load(): return _Native
"""
_TORCH = """
import contextlib
int32 = "int32"
def no_grad(): return contextlib.nullcontext()
def tensor(values, dtype): return list(values)
class _Values(list):
    def float(self): return self
    def topk(self, k, dim): return [[-0.5] * k] * len(self), [list(range(k))] * len(self)
def log_softmax(logits, dim): return logits
"""
# `ModelRunnerCpp` of tensorrt_llm.runtime 0.12.
_TRTLLM_LATER = """
import torch
class ModelRunnerCpp:
    @classmethod
    def from_dir(cls, engine_dir, *, max_batch_size, max_input_len, max_output_len, max_beam_width,
                 max_tokens_in_paged_kv_cache=None, gather_generation_logits=False):
        assert max_tokens_in_paged_kv_cache == 16
        runner = cls()
        runner.gathers = gather_generation_logits
        return runner
    def generate(self, batch, *, max_new_tokens, end_id, pad_id, top_k, return_dict, output_sequence_lengths,
                 output_generation_logits=False):
        assert output_generation_logits == self.gathers
        made = batch[0] + [9] * max_new_tokens
        answer = {"output_ids": [[made]], "sequence_lengths": [[len(made)]]}
        if output_generation_logits:
            answer["generation_logits"] = [[torch._Values([0] * max_new_tokens)]]
        return answer
"""
_TRTLLM = """
import torch
class ModelRunnerCpp:
    @classmethod
    def from_dir(cls, *, engine_dir, max_batch_size, max_input_len, max_output_len, max_beam_width):
        assert (max_batch_size, max_beam_width) == (1, 1)
        return cls()
    def generate(self, batch, *, max_new_tokens, end_id, pad_id, top_k, return_dict, output_sequence_lengths):
        (prompt,) = batch
        made = prompt + [9] * max_new_tokens
        logits = torch._Values([0] * max_new_tokens)
        return {"output_ids": [[made]], "sequence_lengths": [[len(made)]], "generation_logits": [[logits]]}
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of programs, and a Python beside it that has the recorded modules."""
    site = tmp_path / "site"
    for name, text in (("tensorrt_edgellm/runtime", _EDGELLM), ("tensorrt_llm/runtime", _TRTLLM), ("torch", _TORCH)):
        path = site / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent != site:
            (path.parent / "__init__.py").touch()
        path.write_text(textwrap.dedent(text))
    for package, version in (("tensorrt_edgellm", "0.11.0"), ("tensorrt_llm", "0.12.0"), ("tensorrt", "10.16.0.72")):
        info = site / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: {version}\n"
        )
    folder = tmp_path / "bin"
    folder.mkdir()
    python = folder / "python3"
    # -I keeps the environment out, so that the folder is given as code would be: in the script's own process.
    python.write_text(
        f"#!{sys.executable} -I\nimport sys, runpy\nsys.path.insert(0, {str(site)!r})\n"
        "sys.argv = sys.argv[2:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    for name in ("tensorrt-edgellm-build", "trtllm-build"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder


def request(**changes: object) -> dict[str, object]:
    prompts = [{"tokens": [1, 2, 3], "text": "abc"}]
    limits = {"max_batch": 2, "max_input": 8, "max_context": 16}
    asked = {
        "ask": "generate",
        "model": "",
        "engine": "",
        "prompts": prompts,
        "new_tokens": 4,
        "top": 2,
        "limits": limits,
    }
    return {**asked, **changes}


def answer(vendor: Vendor, tmp_path: Path, **changes: object) -> RunnerAnswer:
    found = vendor.ask(request(**changes), log=tmp_path / "log", timeout_s=60, action="prove")
    return RunnerAnswer.model_validate(found)


def test_edgellm_is_asked_in_the_python_beside_its_programs(tools: Path, tmp_path: Path) -> None:
    vendor = find_vendor(edgellm_plan(), tools, {})
    versions = vendor.versions(tmp_path / "log")
    assert (versions.python, versions.backend, versions.tensorrt) == (str(tools / "python3"), "0.11.0", "10.16.0.72")
    found = answer(vendor, tmp_path)
    assert found.answers[0].token_ids == (5, 5, 5, 5)
    assert found.answers[0].log_probabilities == ({5: -0.5},) * 4
    assert (found.prompt_tokens, found.not_verified) == ((3,), ())
    assert found.runtime == "tensorrt-edgellm 0.11.0"
    (missing,) = answer(vendor, tmp_path, top=0).not_verified
    assert missing.what == "logits"


def test_edgellm_builds_from_onnx_with_the_class_of_the_wheel(tools: Path, tmp_path: Path) -> None:
    import subprocess  # noqa: PLC0415

    vendor = find_vendor(edgellm_plan(), tools, {})
    arguments = vendor.arguments(edgellm_plan().build.arguments(model="/m", engine=str(tmp_path)))
    assert subprocess.run(arguments, check=False).returncode == 0
    called = json.loads((tmp_path / "called.json").read_text())
    assert called == {"max_input_len": 512, "max_kv_cache_capacity": 1024, "max_batch_size": 2}
    assert subprocess.run([*arguments[:-1], "666"], check=False).returncode == 1


@pytest.mark.parametrize("release", ["0.12", "later"])
def test_trtllm_gives_logits_only_of_an_engine_that_has_them(tools: Path, tmp_path: Path, release: str) -> None:
    if release == "later":
        (tmp_path / "site/tensorrt_llm/runtime.py").write_text(_TRTLLM_LATER)
    vendor = find_vendor(trtllm_plan(), tools, {})
    assert vendor.versions(tmp_path / "log").backend == "0.12.0"
    assert vendor.arguments(["trtllm-build", "--x"]) == [str(tools / "trtllm-build"), "--x"]
    for has, expected in ((True, ({0: -0.5, 1: -0.5},) * 4), (False, None)):
        config = {"build_config": {"gather_generation_logits": has}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        found = answer(vendor, tmp_path, engine=str(tmp_path))
        assert found.answers[0].token_ids == (9, 9, 9, 9)
        assert found.answers[0].log_probabilities == expected
        assert [missing.what for missing in found.not_verified] == ([] if has else ["logits"])


def test_programs_are_found_on_path_and_their_python_by_the_first_line(tools: Path) -> None:
    python = tools / "python3"
    elsewhere = python.rename(tools.parent / "python3")
    (tools / "trtllm-build").write_text(f"#!{elsewhere}\n")
    vendor = find_vendor(trtllm_plan(), None, {"PATH": str(tools)})
    assert (vendor.python, vendor.program) == (elsewhere, (str(tools / "trtllm-build"),))


@pytest.mark.parametrize("plan", [edgellm_plan(), trtllm_plan()], ids=["edgellm", "trtllm"])
def test_what_is_not_there_is_named(tmp_path: Path, plan) -> None:
    with pytest.raises(DeviceError, match="name the folder of its programs with --tools"):
        find_vendor(plan, None, {"PATH": str(tmp_path)})


def test_a_python_that_does_not_start_is_named(tools: Path, tmp_path: Path) -> None:
    (tools / "python3").write_text("#!/bin/sh\necho broken\nexit 3\n")
    with pytest.raises(DeviceError, match="cannot be asked for its packages"):
        find_vendor(edgellm_plan(), tools, {}).versions(tmp_path / "log")


def test_a_python_without_the_package_has_no_version(tmp_path: Path) -> None:
    vendor = Vendor(("x",), Path(sys.executable), RUNNERS["trtllm"], {})
    versions = vendor.versions(tmp_path / "log")
    assert (versions.backend, versions.tensorrt) == (None, None)
