"""What an end before the end leaves: nothing half-written, nothing lost that took hours; what a device must tell."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from device_case import ORIN, Device, make_bundle

from edgec.bundle.keyfile import new_key, public_path
from edgec.device.device_key import device_key, key_path
from edgec.device.finalize import Finalized, finalize
from edgec.errors import DeviceError, InputError, ProofError


def finish(bundle: Path, device: Device, mode: str = "good", **changes: object) -> Finalized:
    return finalize(bundle, artifact=None, bench=device.bench(mode, **changes))


def test_an_engine_whose_proof_was_killed_is_only_proven_again(bundle: Path, device: Device) -> None:
    with pytest.raises(DeviceError, match=r"(?s)does not run.*SIGKILL.*memory"):
        finish(bundle, device, "runner killed")
    assert device.current() is None
    device.events.clear()
    assert finish(bundle, device).done
    assert [e.kind for e in device.events if type(e).__name__ == "ActionStarted"] == ["prove"]


def test_a_builder_whose_child_was_killed_needs_more_memory(bundle: Path, device: Device) -> None:
    with pytest.raises(DeviceError, match="exited with 137, as when a process it started is killed") as caught:
        finish(bundle, device, "killed below")
    assert "give it more memory" in (caught.value.diagnostics[0].hint or "")


def test_a_pipe_among_the_engines_files_is_told_and_not_read(bundle: Path, device: Device) -> None:
    with pytest.raises(DeviceError, match="`pipe` is no plain file"):
        finish(bundle, device, "leaves a pipe")


def test_a_refused_bundle_leaves_nothing_unpacked(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    blob = max((bundle / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(ProofError):
        finish(bundle, device)
    assert [path for path in device.shelf.rglob("*") if "bundle" in path.name] == []


@pytest.mark.parametrize("content", [None, "MemAvailable: much\n"])
def test_free_memory_that_is_not_told_is_a_mismatch(
    bundle: Path, device: Device, tmp_path: Path, content: str | None
) -> None:
    root = shutil.copytree(ORIN, tmp_path / "root")
    (root / "proc" / "meminfo").unlink()
    if content is not None:
        (root / "proc" / "meminfo").write_text(content)
    with pytest.raises(DeviceError, match="does not tell how much is free"):
        finish(bundle, device, root=root)


def test_the_public_half_of_the_devices_key_is_written_again(tmp_path: Path) -> None:
    key = device_key(tmp_path)
    public = public_path(key_path(tmp_path))
    public.unlink()
    assert device_key(tmp_path).public.fingerprint == key.public.fingerprint
    assert public.read_bytes() == key.public.pem


def test_halves_that_are_not_of_one_key_are_refused(tmp_path: Path) -> None:
    device_key(tmp_path)
    public = public_path(key_path(tmp_path))
    public.write_bytes(new_key(tmp_path / "other.key").public.pem)
    with pytest.raises(DeviceError, match="not the public half of this device's key") as caught:
        device_key(tmp_path)
    assert "it is written again" in (caught.value.diagnostics[0].hint or "")
    key_path(tmp_path).unlink()
    with pytest.raises(DeviceError, match="the private half is not"):
        device_key(tmp_path)


def test_a_damaged_key_is_told_as_the_devices(tmp_path: Path) -> None:
    device_key(tmp_path)
    key_path(tmp_path).write_text("junk")
    with pytest.raises(InputError) as caught:
        device_key(tmp_path)
    assert "a new key is made" in (caught.value.diagnostics[0].hint or "")
