"""The lock of the wheels: that of the toolchain the plugin is tried with, whole for both machines."""

from __future__ import annotations

import re

from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from edgec.deploy.dify.package import MAX_BYTES
from edgec.deploy.dify.wheels import ARCHS, lock_digest, locked_wheels, requirements, wheel_bytes
from edgec.toolchain.definition import find_toolchain

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def runs(tag: Tag, machine: str) -> bool:
    """Whether a wheel with this tag runs in the daemon: CPython 3.12, glibc 2.39."""
    python = tag.interpreter in ("py3", "cp312", "py2.py3") or (tag.abi == "abi3" and tag.interpreter <= "cp312")
    glibc = re.fullmatch(rf"manylinux(?:2014|_2_(\d+))_{machine}", tag.platform)
    return python and (tag.platform == "any" or (glibc is not None and int(glibc[1] or 17) <= 39))


def test_it_is_the_toolchains_lock() -> None:
    lock = find_toolchain("dify").lock.read_text(encoding="utf-8")
    pins = {(canonicalize_name(n), v) for n, v in re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)}
    wheels = {parse_wheel_filename(w.file)[:2] for w in locked_wheels()}
    assert {(name, str(version)) for name, version in wheels} == pins
    assert all(w.digest in lock for w in locked_wheels())


def test_each_machine_has_one_wheel_of_each_package() -> None:
    for arch in ARCHS:
        own = [parse_wheel_filename(w.file) for w in locked_wheels() if arch in w.archs]
        assert len({name for name, *_ in own}) == len(own) == len(set(requirements(offline=False).splitlines()))
        for name, _, _, tags in own:
            assert any(runs(tag, MACHINES[arch]) for tag in tags), f"{name} on {arch}"


def test_requirements() -> None:
    online = requirements(offline=False).decode().splitlines()
    assert online[0] == "dify_plugin==0.7.4"
    assert requirements(offline=True).decode().splitlines() == ["--no-index", "--find-links ./wheels/", *online]


def test_sizes_fit_dify() -> None:
    assert 0 < wheel_bytes() < MAX_BYTES // 2
    assert lock_digest().startswith("sha256:")
