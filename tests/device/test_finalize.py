"""A bundle becomes an engine in use: compared, built, proven, receipted; the old engine stays until then.

The vendor's builder is a recorded stand-in here: engine build not verified on hardware.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundle_case import derived_key
from device_case import (
    ARTIFACT,
    LIMITS,
    ORIN,
    PUBLISHER,
    REQUIRES,
    ROOTS,
    WEIGHTS,
    Device,
    edgellm_plan,
    make_bundle,
    reference,
    stand_in,
    trtllm_plan,
    wait_until_gone,
)
from recorded_builder import TRTLLM

from edgec.bundle.unpack import unpack
from edgec.device.finalize import Finalized, finalize
from edgec.device.places import file_digests
from edgec.errors import DeviceError, EdgecError, InputError, ProofError

OTHER_WEIGHTS = WEIGHTS[::-1]


def finish(bundle: Path, device: Device, mode: str = "good", **changes: object) -> Finalized:
    return finalize(bundle, artifact=None, bench=device.bench(mode, **changes))


def test_a_bundle_becomes_an_engine_in_use(bundle: Path, device: Device) -> None:
    result = finish(bundle, device)
    assert result.done
    assert (device.shelf / "current" / "engine" / "llm.engine").is_file()
    assert result.place.engine.resolve() == (device.shelf / "current" / "engine").resolve()
    receipt = result.receipt
    assert {name: file.model_dump() for name, file in receipt.engine.items()} == file_digests(result.place.engine)
    assert (receipt.artifact, receipt.limits, receipt.tensorrt) == (ARTIFACT, LIMITS, "10.16.2.10")
    assert receipt.device.l4t.found == "/etc/nv_tegra_release"
    assert [check.passed for check in receipt.proof.checks] == [True] * 4
    assert receipt.stand_in is not None
    assert receipt.stand_in.note == "engine built by a stand-in; not an engine"
    assert not result.place.bundle.exists(), "the model is not needed any more"
    states = [json.loads(line)["state"] for line in result.place.journal.read_text().splitlines()]
    assert states == ["verified", "unpacked", "building", "built", "proven", "active"]


def test_a_stand_in_never_comes_near_the_engines(bundle: Path, device: Device) -> None:
    finish(bundle, device)
    assert not (device.folder / "state" / "engines").exists()
    assert "a stand-in builds: what it makes is no engine, and stands apart" in device.notes()


def test_what_stands_is_not_built_again(bundle: Path, device: Device) -> None:
    first = finish(bundle, device)
    again = finish(bundle, device, "fails")
    assert (again.done, again.receipt) == (False, first.receipt)


@pytest.mark.parametrize("form", ["archive", "unpacked"])
def test_the_same_bundle_in_another_form_has_the_same_engine(
    bundle: Path, device: Device, tmp_path: Path, form: str
) -> None:
    first = finish(bundle, device)
    other = bundle.with_suffix(".tar")
    if form == "unpacked":
        other = tmp_path / "other"
        unpack(bundle, other, public_key=PUBLISHER.public, accept_development_key=True)
    again = finish(other, device)
    assert (again.done, again.place.key) == (False, first.place.key)


def _public(folder: Path) -> Path:
    path = folder / "acme.pub"
    path.write_bytes(PUBLISHER.public.pem)
    return path


# Refusals before anything is built.


@pytest.mark.parametrize(
    ("mode", "changes", "family", "said"),
    [
        ("fails", {"public_key": derived_key(5).public}, ProofError, "not with"),
        ("fails", {"public_key": None}, ProofError, "unknown key"),
        ("fails", {"root": ROOTS / "orin-nx-r36.4"}, DeviceError, "needs L4T 39.2, and this device has 36.4.3"),
        ("fails", {"root": ROOTS / "server-h100"}, DeviceError, "is for aarch64"),
        ("fails", {"version": "0.10.0"}, DeviceError, "has tensorrt-edgellm 0.10.0"),
        ("fails", {"stand_in": None}, InputError, "for the machine that runs"),
        ("fails", {"stand_in": Path("/nowhere.py")}, InputError, "there is no such stand-in"),
    ],
)
def test_a_mismatch_is_refused_before_anything_is_built(  # noqa: PLR0917
    bundle: Path, device: Device, mode: str, changes: dict[str, object], family: type[EdgecError], said: str
) -> None:
    with pytest.raises(family, match=said):
        finish(bundle, device, mode, **changes)
    assert not device.shelf.exists()


def test_a_bundle_that_was_changed_is_refused_and_nothing_is_built(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    largest = max((bundle / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[100] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(data)
    with pytest.raises(ProofError):
        finish(bundle, device, "fails")
    assert device.current() is None


def test_a_plan_that_was_changed_is_refused_before_it_is_used(bundle: Path, device: Device, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    unpack(bundle, folder, public_key=PUBLISHER.public, accept_development_key=True)
    path = folder / f"device/{ARTIFACT}.finalize.json"
    path.write_bytes(path.read_bytes().replace(b'"sm":87', b'"sm":88'))
    with pytest.raises(ProofError, match=r"finalize\.json` was changed after it was signed"):
        finish(folder, device, "fails")
    assert not device.shelf.exists()


def test_too_little_disk_counts_what_will_be_unpacked(device: Device, tmp_path: Path) -> None:
    plan = edgellm_plan(requires=REQUIRES.model_copy(update={"build_disk_mib": 1 << 40}))
    with pytest.raises(DeviceError, match=rf"{(1 << 40) + 1} MiB of disk are needed"):
        finish(make_bundle(tmp_path, plan), device, "fails")


def test_memory_is_needed_to_build_and_not_for_what_stands(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    finish(bundle, device)
    root = shutil.copytree(ORIN, tmp_path / "root")
    meminfo = root / "proc/meminfo"
    meminfo.write_text("MemTotal: 15795032 kB\nMemAvailable: 102400 kB\n")
    assert not finish(bundle, device, root=root).done
    engine = next(device.shelf.glob("*/engine/llm.engine"))
    engine.write_bytes(b"damaged")
    with pytest.raises(DeviceError, match="1000 MiB of memory and swap are needed, and 100 MiB are free"):
        finish(bundle, device, root=root)


def test_several_artifacts_are_chosen_by_name(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, edgellm_plan(), trtllm_plan())
    with pytest.raises(InputError, match="has 2 artifacts for a device"):
        finish(bundle, device)
    with pytest.raises(InputError, match="no artifact `x`"):
        finalize(bundle, artifact="x", bench=device.bench())
    for artifact, version in ((ARTIFACT, "0.11.0"), ("trtllm-int8", TRTLLM)):
        result = finalize(bundle, artifact=artifact, bench=device.bench(version=version))
        assert (result.receipt.artifact, result.place.is_current()) == (artifact, True)
    assert sorted(path.name for path in device.shelf.parent.iterdir()) == [ARTIFACT, "trtllm-int8"]


def test_a_bundle_with_nothing_for_a_device_is_named(device: Device, tmp_path: Path) -> None:
    from bundle_case import make_bundle as plain_bundle  # noqa: PLC0415

    with pytest.raises(InputError, match="nothing to finish on a device"):
        finish(plain_bundle(tmp_path, PUBLISHER).layout, device)


# Failures keep what is in use.


@pytest.mark.parametrize(
    ("mode", "family"),
    [
        ("fails", DeviceError),
        ("killed for memory", DeviceError),
        ("no engine", DeviceError),
        ("truncated engine", DeviceError),
        ("log says failed", DeviceError),
        ("runtime dies", DeviceError),
        ("wrong tokens", ProofError),
        ("other tokenizer", ProofError),
    ],
)
def test_the_old_engine_stays_in_use_until_the_new_one_is_proven(
    bundle: Path, device: Device, tmp_path: Path, mode: str, family: type[EdgecError]
) -> None:
    old = finish(bundle, device)
    newer = make_bundle(tmp_path, weights=OTHER_WEIGHTS, version="2.0.0")
    before = file_digests(old.place.engine)
    with pytest.raises(family):
        finish(newer, device, mode)
    assert device.current() == old.place.key
    assert file_digests(old.place.engine) == before
    new = next(
        path
        for path in device.shelf.iterdir()
        if path.is_dir() and not path.is_symlink() and path.name != old.place.key
    )
    assert not (new / "engine.new").exists(), "what failed is thrown away"
    assert (new / "build.log").is_file()
    assert finish(newer, device).receipt.bundle.version == "2.0.0"
    assert device.current() == new.name


def test_an_engine_that_gives_no_logits_says_so(bundle: Path, device: Device) -> None:
    receipt = finish(bundle, device, "no logits").receipt
    assert [missing.what for missing in receipt.proof.not_verified] == ["logits"]
    assert "device: log probabilities" not in [check.name for check in receipt.proof.checks]


def test_a_failed_proof_tells_where_it_parts(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, recorded=reference(OTHER_WEIGHTS))
    with pytest.raises(ProofError) as caught:
        finish(bundle, device)
    assert "the engine failed its proof: device: greedy tokens" in str(caught.value)
    assert "p0: token 0 is" in str(caught.value)
    assert caught.value.exit_code == 4


def test_the_one_before_is_kept_and_older_ones_go(device: Device, tmp_path: Path) -> None:
    bundles = [
        make_bundle(tmp_path / v, weights=WEIGHTS * (i + 1), version=v)
        for i, v in enumerate(("1.0.0", "2.0.0", "3.0.0"))
    ]
    keys = [finish(bundle, device).place.key for bundle in bundles]
    kept = {path.name for path in device.shelf.iterdir() if not path.is_symlink()}
    assert (kept, device.current()) == (set(keys[1:]), keys[2])
    assert str((device.shelf / "previous").readlink()) == keys[1]
    back = finish(bundles[1], device, "fails")
    assert (back.done, device.current()) == (True, keys[1])
    assert str((device.shelf / "previous").readlink()) == keys[2]


def test_an_engine_that_was_changed_is_built_again(bundle: Path, device: Device) -> None:
    first = finish(bundle, device)
    engine = first.place.engine / "llm.engine"
    engine.write_bytes(engine.read_bytes()[:-1] + b"?")
    again = finish(bundle, device)
    assert (again.done, again.place.key) == (True, first.place.key)
    assert file_digests(again.place.engine)["llm.engine"]["digest"] == first.receipt.engine["llm.engine"].digest
    assert "the engine was changed after it was proven; it is built again" in device.notes()


def test_a_receipt_that_was_changed_is_not_believed(bundle: Path, device: Device) -> None:
    first = finish(bundle, device)
    first.place.receipt.write_bytes(first.place.receipt.read_bytes().replace(b"0", b"1"))
    device.events.clear()
    again = finish(bundle, device)
    assert again.done
    # It takes hours to build, and nothing is wrong with it.
    assert [e.kind for e in device.events if type(e).__name__ == "ActionStarted"] == ["unpack", "prove"]
    assert again.receipt.engine == first.receipt.engine
    assert not finish(bundle, device).done


def test_a_new_device_key_means_a_new_receipt_and_no_new_engine(bundle: Path, device: Device) -> None:
    finish(bundle, device)
    shutil.rmtree(device.folder / "config" / "device")
    device.events.clear()
    assert finish(bundle, device).done
    assert [e.kind for e in device.events if type(e).__name__ == "ActionStarted"] == ["unpack", "prove"]


def test_a_model_that_is_needed_at_run_time_stays_and_is_watched(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, edgellm_plan(model_at_run_time=True))
    result = finish(bundle, device)
    weights = result.place.bundle / "edgellm/llm/model.onnx.data"
    assert weights.read_bytes() == WEIGHTS
    assert not (result.place.bundle / "README.md").exists()
    weights.write_bytes(OTHER_WEIGHTS)
    assert finish(bundle, device).done
    assert weights.read_bytes() == WEIGHTS


def test_another_driver_means_another_engine(bundle: Path, device: Device, tmp_path: Path) -> None:
    first = finish(bundle, device)
    root = shutil.copytree(ORIN, tmp_path / "root")
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("10.16.2.10", "10.16.3.1"))
    second = finish(bundle, device, root=root)
    assert second.place.key != first.place.key
    assert second.done


# Two at once, and a kill during the build.


def _command(device: Device, bundle: Path, mode: str, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    device.folder.mkdir(exist_ok=True)
    arguments = [sys.executable, "-m", "edgec", "device", "finalize", str(bundle), "--key", str(_public(tmp_path))]
    arguments += ["--stand-in", str(stand_in(device.folder, mode)), "--root", str(ORIN)]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "xdg"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return arguments, env


def test_two_at_once_do_not_build_and_a_kill_leaves_no_builder(bundle: Path, device: Device, tmp_path: Path) -> None:
    state = tmp_path / "xdg/edgec"
    arguments, env = _command(device, bundle, "hangs", tmp_path)
    first = subprocess.Popen(arguments, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shelf = state / f"engines-stand-in/orin-toy/{ARTIFACT}"
        deadline = time.monotonic() + 30
        while not list(shelf.glob("*/engine.new")):
            assert time.monotonic() < deadline, "the build did not begin"
            time.sleep(0.05)
        with pytest.raises(DeviceError, match="another `edgec device finalize` runs"):
            finish(bundle, device, state=state)
    finally:
        first.kill()
        first.wait()
    wait_until_gone(str(device.folder))
    result = finish(bundle, device, state=state, config=tmp_path / "config/edgec")
    assert result.done
    assert list(shelf.glob("*/engine.new")) == []
