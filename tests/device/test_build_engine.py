"""A builder is believed nothing: every way in which one was seen to fail without saying so is told, with the log."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from device_case import WEIGHTS, edgellm_plan, stand_in, trtllm_plan, wait_until_gone

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.device.build import ACTION, build_engine
from edgec.device.vendor import stand_in_vendor
from edgec.errors import DeviceError
from edgec.events import Event, Progress


class Site:
    """Where one engine is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.out, self.log = folder / "model", folder / "engine", folder / "build.log"
        self.model.mkdir()
        self.out.mkdir()
        for name, data in (("model.onnx.data", WEIGHTS), ("rank0.safetensors", WEIGHTS), ("tokenizer.json", b"{}")):
            (self.model / name).write_bytes(data)
        (self.model / "config.json").write_text('{"edgellm_version": "0.11.0"}')
        self.events: list[Event] = []

    def build(self, mode: str, plan: FinalizePlan | None = None) -> None:
        vendor = stand_in_vendor(stand_in(self.folder, mode))
        plan = plan or edgellm_plan()
        self.facts = build_engine(plan, vendor, model=self.model, out=self.out, log=self.log, report=self.events.append)

    def failure(self, mode: str, plan: FinalizePlan | None = None) -> str:
        with pytest.raises(DeviceError) as caught:
            self.build(mode, plan)
        text = str(caught.value)
        assert str(self.log) in text
        return text


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("plan", [edgellm_plan(), trtllm_plan()], ids=["edgellm", "trtllm"])
def test_an_engine_that_is_whole_is_accepted(site: Site, plan: FinalizePlan) -> None:
    site.build("good", plan)
    assert site.facts.wall_s > 0
    assert site.facts.command[-len(plan.build.command) + 1 :][1] == str(site.model)
    assert (site.out / plan.build.outputs[0].path).stat().st_size > len(WEIGHTS)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("no engine", "`llm.engine` is missing"),
        ("empty engine", "`llm.engine` is empty"),
        ("truncated engine", "`llm.engine` has 4103 bytes, less than 8192"),
        ("no config", "`config.json` is missing"),
        ("tokenizer is a link", "`tokenizer.json` is a link, and no file of its own"),
        ("other version", "`config.json` says edgellm_version '0.6.0' instead of '0.11.0'"),
        ("log says failed", "its log says '[21:30:27.876] [ERROR] [builderUtils.cpp:320] Failed to build serialized"),
    ],
)
def test_a_false_success_is_detected(site: Site, mode: str, said: str) -> None:
    text = site.failure(mode)
    assert "the builder says it succeeded, and it did not" in text
    assert said in text
    assert "LLM engine built successfully" in text, "the end of the log is shown"


def test_trtllm_goes_on_after_a_failed_build_and_is_not_believed(site: Site) -> None:
    text = site.failure("log says failed", trtllm_plan())
    assert "its log says '[09/19/2024-03:34:55] [TRT-LLM] [E] Engine building failed" in text
    assert "`rank0.engine` is missing" in text


def test_a_build_that_the_kernel_ended_is_named(site: Site) -> None:
    text = site.failure("killed for memory")
    assert "there is no engine: `edgellm-onnx-build` was killed by SIGKILL, which the kernel does when memory" in text
    assert "give it more memory: end other programs" in text


def test_a_build_that_fails_says_what_it_said(site: Site) -> None:
    text = site.failure("fails")
    assert "there is no engine: `edgellm-onnx-build` exited with 1" in text
    assert "| [21:30:27.874] [ERROR] [llm_build.cpp:243:main] Failed to build LLM engine." in text


def test_a_build_that_hangs_is_ended(site: Site) -> None:
    plan = edgellm_plan()
    plan = plan.model_copy(update={"build": plan.build.model_copy(update={"timeout_s": 1})})
    started = time.monotonic()
    assert "did not end within 1 s" in site.failure("hangs", plan)
    assert time.monotonic() - started < 20
    wait_until_gone(str(site.folder))


def test_a_link_in_the_engines_place_is_no_engine(site: Site) -> None:
    assert "`llm.engine` is missing" in site.failure("engine is a link")


def test_progress_follows_the_log_and_tells_the_time(site: Site) -> None:
    site.build("lingers")
    seen = [event for event in site.events if isinstance(event, Progress)]
    assert seen
    assert seen[-1].action == ACTION
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (3, 4, "phases")
    assert re.fullmatch(r"0:\d\d \[21:30:30\.110\] .* LLM engine built successfully\.", seen[-1].detail)
