"""JetPack to Edge-LLM: what can be had, and what is refused."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from edgec.errors import InputError
from edgec.formats.edgellm.versions import VERSIONS, version_for
from edgec.toolchain.environments import Environment, find_toolchain


@pytest.mark.parametrize("jetpack", ["7.2", "7.2.1"])
def test_jetpack_7_2_has_its_exporter(jetpack: str) -> None:
    version = version_for(jetpack)
    assert (version.number, version.toolchain, version.cuda) == ("0.11.0", "edgellm", "13.2")
    assert version.payload is not None
    assert (version.payload.sm, version.payload.l4t) == (87, "R39.2")


def test_every_version_that_can_be_had_is_what_its_toolchain_locks() -> None:
    for version in VERSIONS:
        if version.toolchain is not None:
            lock = find_toolchain(version.toolchain).lock.read_text()
            assert f"tensorrt-edgellm=={version.number} " in lock


def test_jetpack_6_2_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError) as caught:
        version_for("6.2.1")
    (found,) = caught.value.diagnostics
    assert "needs Edge-LLM 0.6.0, which is not to be had from PyPI" in found.message
    assert found.hint is not None
    assert "7.2" in found.hint


@pytest.mark.parametrize("jetpack", ["5.1", "7.20", "8.0", ""])
def test_an_unknown_jetpack_is_refused(jetpack: str) -> None:
    with pytest.raises(InputError, match="no Edge-LLM is known"):
        version_for(jetpack)


def test_a_target_without_jetpack_is_refused() -> None:
    with pytest.raises(InputError, match="the target has no JetPack"):
        version_for(None)


@pytest.mark.toolchain
@pytest.mark.heavy("edgellm")
def test_the_payload_is_of_the_release_that_is_installed(exporter: Environment) -> None:
    """The wheel here is for this machine; release, source and the kinds of facts are those of the device's wheel."""
    path = exporter.site_packages / "tensorrt_edgellm" / "_native" / "variants.json"
    variants = json.loads(path.read_text())
    (version,) = [v for v in VERSIONS if v.toolchain == exporter.toolchain.name]
    assert version.payload is not None
    assert variants["package_version"] == version.number
    assert variants["source_revision"] == version.payload.source_revision
    known = {"sm": "gpu_sm", "cuda_soname": "cuda_runtime_soname", "tensorrt_soname": "tensorrt_runtime_soname"}
    assert set(known) < {f.name for f in fields(version.payload)}
    assert set(known.values()) < set(variants["variants"][0])
