"""A build on a machine that is the device builds the engine too; elsewhere it does not, and says why if it could."""

from __future__ import annotations

from pathlib import Path

from device_case import ROOTS, Device, make_bundle
from recorded_builder import EDGELLM

from edgec.device.here import finish_here


def test_the_device_itself_builds_at_once(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", [])
    (built,) = finish_here(make_bundle(tmp_path), device.bench())
    assert (built.place.engine / "llm.engine").is_file()
    assert device.current() == built.place.key
    (again,) = finish_here(tmp_path / "bundle", device.bench())
    assert again.done is False


def test_another_machine_with_a_builder_says_why_it_does_not(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", [])
    assert finish_here(make_bundle(tmp_path), device.bench(root=ROOTS / "no-gpu")) == ()
    assert "no engine of edgellm-int4_awq is built here: the bundle is for aarch64" in " ".join(device.notes())
    assert not device.shelf.exists()


def test_another_version_of_the_builder_is_not_used(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", [])
    assert finish_here(make_bundle(tmp_path), device.bench(version="0.10.0")) == ()
    assert f"made for tensorrt-edgellm {EDGELLM}" in " ".join(device.notes())


def test_a_machine_without_a_builder_says_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", [])
    bench = device.bench(stand_in=None, root=Path("/"), env={"PATH": str(tmp_path)})
    assert finish_here(make_bundle(tmp_path), bench) == ()
    assert device.notes() == []
