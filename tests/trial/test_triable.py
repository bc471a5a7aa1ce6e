"""What a bundle lacks for a trial is said before anything is installed, with a hint that its recipe can follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundle_case import derived_key, make_bundle

from edgec.bundle.content import BundleArtifact
from edgec.errors import InputError
from edgec.events import silent
from edgec.trial.run import Stage, run_trials

FILE = ("gguf/model-q4_0.gguf",)
ENGINE = {"triton": {"backend": "tensorrtllm"}}


def refusal(folder: Path, trial: str, artifact: str, **changes: Any) -> str:
    """What is said of a trial of a bundle whose first artifact has this format; nothing may be installed for it."""
    made = make_bundle(folder, derived_key(7), artifacts=(BundleArtifact("gguf-q4_0", artifact, "x", FILE),), **changes)
    cache = folder / "cache"
    with pytest.raises(InputError) as caught:
        run_trials([trial], Stage(made.folder, cache, offline=True, report=silent))
    assert not cache.exists()
    (said,) = caught.value.diagnostics
    return f"{said.message}; {said.hint}"


def test_an_engines_repository_is_for_the_device(tmp_path: Path) -> None:
    said = refusal(tmp_path, "triton", "trtllm", deployment=ENGINE)
    assert "cannot be tried here: its engine is built on the device" in said
    assert "on the device, finalize the bundle and start Triton" in said


@pytest.mark.parametrize("trial", ["triton", "dify"])
@pytest.mark.parametrize("artifact", ["edgellm", "onnx"])
def test_no_hint_asks_for_what_the_format_cannot_have(tmp_path: Path, trial: str, artifact: str) -> None:
    said = refusal(tmp_path, trial, artifact)
    assert "package:" not in said
    assert f"a bundle whose first artifact is `{artifact}` has none: verify without --run {trial}" in said
    assert ("finalize" in said) == (artifact == "edgellm")


def test_dify_has_none_of_an_engine_that_triton_serves(tmp_path: Path) -> None:
    assert "first artifact is `trtllm` has none" in refusal(tmp_path, "dify", "trtllm", deployment=ENGINE)


def test_a_repository_that_was_declined(tmp_path: Path) -> None:
    assert "its recipe says `package: {triton: null}`" in refusal(tmp_path, "triton", "trtllm")


@pytest.mark.parametrize(("trial", "hint"), [("triton", "{triton: {}}"), ("dify", "{dify: {author: ...}}")])
def test_a_gguf_can_have_both(tmp_path: Path, trial: str, hint: str) -> None:
    assert f"build it with `package: {hint}`" in refusal(tmp_path / "board", trial, "gguf")
    browser = {"name": "wasm-browser", "isa": {"arch": "wasm32"}}
    said = refusal(tmp_path / "browser", trial, "gguf", target=browser)
    assert f"a bundle for a browser has none: verify without --run {trial}" in said


def test_what_a_later_trial_lacks_is_said_before_the_first(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, derived_key(7))
    repository = made.folder / "triton" / "models" / "m"
    repository.mkdir(parents=True)
    (repository / "config.pbtxt").touch()
    stage = Stage(made.folder, tmp_path / "cache", offline=True, report=silent)
    with pytest.raises(InputError, match="no Dify package"):
        run_trials(["triton", "dify"], stage)


def test_a_bundle_without_a_site_is_told_without_a_folder_of_ours(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, derived_key(7))
    with pytest.raises(InputError, match=r"^error: the bundle holds no web site\n") as caught:
        run_trials(["web"], Stage(made.folder, tmp_path / "cache", offline=True, report=silent))
    assert caught.value.diagnostics[0].place is None
