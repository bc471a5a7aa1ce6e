"""The built-in profiles: every one loads, agrees with itself, and refuses what its hardware cannot do."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from edgec.recipe.model import Scheme
from edgec.target.load import list_targets, load_target, profiles_folder
from edgec.target.model import Provenance, Target

HERE = Path(__file__).parent
NAMES = (
    "agx-orin-64gb", "orin-nano-8gb", "orin-nano-super-8gb", "orin-nx-16gb", "pi5-16gb", "pi5-4gb", "pi5-8gb",
    "rk3588-16gb", "rk3588-8gb", "wasm-browser",
)  # fmt: skip


def profile(name: str) -> Target:
    return load_target(name, folder=HERE)


def provenances(value: object) -> list[Provenance]:
    if isinstance(value, Provenance):
        return [value]
    if isinstance(value, BaseModel):
        return [p for name in type(value).model_fields for p in provenances(getattr(value, name))]
    if isinstance(value, dict):
        return [p for v in value.values() for p in provenances(v)]
    if isinstance(value, tuple):
        return [p for v in value for p in provenances(v)]
    return []


def test_the_profiles_there_are() -> None:
    assert list_targets() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_profile_loads_under_its_own_name(name: str) -> None:
    target = profile(name)
    assert target.name == name
    assert (profiles_folder() / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_scheme_is_served_or_refused_by_a_gguf_runtime(name: str) -> None:
    gguf = [r for r in profile(name).runtimes.values() if "gguf" in r.formats]
    assert gguf
    for runtime in gguf:
        assert set(runtime.schemes) | set(runtime.refused_schemes) >= set(get_args(Scheme))


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_speeds_are_measured_and_the_rest_says_estimate(name: str) -> None:
    for runtime in profile(name).runtimes.values():
        for speed in runtime.speed:
            assert (speed.confidence == "calibrated") == (speed.provenance.kind == "measured")


@pytest.mark.parametrize("name", NAMES)
def test_provenance_is_complete(name: str) -> None:
    target = profile(name)
    found = provenances(target)
    assert len(found) >= 6 + 3 * len(target.runtimes)
    for provenance in found:
        assert provenance.kind != "estimate" or provenance.note


@pytest.mark.parametrize("name", [n for n in NAMES if "orin" in n])
def test_orin_has_no_fp8_and_no_nvfp4(name: str) -> None:
    target = profile(name)
    assert target.accelerator is not None
    assert target.accelerator.sm == 87
    for refused in (
        target.accelerator.refused_dtypes,
        *(target.runtimes[r].refused_schemes for r in ("edgellm", "trtllm")),
    ):
        assert {"fp8", "nvfp4"} <= set(refused)
        assert all("use int4_awq" in why for why in refused.values())


@pytest.mark.parametrize("name", ["rk3588-8gb", "rk3588-16gb"])
def test_the_rk3588_npu_has_no_int4_and_names_the_cpu_instead(name: str) -> None:
    refused = profile(name).runtimes["rkllm"].refused_schemes
    assert {"w4a16", "int4_awq", "int4_gptq"} <= set(refused)
    assert all("on the CPU" in why for why in refused.values())


def test_variants_differ_only_in_what_they_state() -> None:
    small, base = profile("pi5-4gb"), profile("pi5-8gb")
    assert small.memory.total_mib == 4096
    same = base.model_dump(by_alias=True)
    same.update(name="pi5-4gb", title=small.title, memory=small.memory.model_dump())
    assert Target.model_validate(same) == small


def test_the_super_modes_raise_the_bandwidth() -> None:
    original, uprated = profile("orin-nano-8gb"), profile("orin-nano-super-8gb")
    assert uprated.bandwidth.theoretical_gbs == pytest.approx(1.5 * original.bandwidth.theoretical_gbs, rel=0.01)
    assert uprated.runtimes["edgellm"].speed[0].bw_eff_gbs[0] > original.runtimes["edgellm"].speed[0].bw_eff_gbs[1]


def changed(path: str, value: object) -> dict[str, object]:
    data = profile("rk3588-8gb").model_dump(mode="json", by_alias=True)
    *way, last = path.split(".")
    place = data
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("memory.provenance", None, "Input should be"),
        ("memory.os_reserve_provenance.note", None, "an estimate needs a `note`"),
        ("memory.os_reserve_mib", 8192, "leaves nothing of `total_mib`"),
        ("runtimes.rkllm.speed.0.bw_eff_gbs", [40.0, 30.0], "with 0 <= low <= high"),
        ("runtimes.rkllm.speed.0.bw_eff_gbs", [30.0, 50.0], "above bandwidth.theoretical_gbs"),
        ("runtimes.rkllm.speed.0.measured_gb", None, "measured_gb is given exactly when"),
        ("runtimes.rkllm.speed.1.quant_family", "w8a8", "more than one speed model"),
        ("runtimes.rkllm.refused_schemes", {"w8a8": "because of reasons"}, "served and refused at once: w8a8"),
        ("runtimes.rkllm.refused_schemes", {"w4a16": "no"}, "at least 10 characters"),
        ("runtimes.rkllm.preferred_schemes", ["q4_0"], "preferred but not in schemes: q4_0"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(path: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Target.model_validate(changed(path, value))


def test_the_profile_in_the_documentation_loads(tmp_path: Path) -> None:
    text = (profiles_folder().parent / "docs" / "targets.md").read_text(encoding="utf-8")
    block = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "my-pi.yaml").write_text(textwrap.dedent(block), encoding="utf-8")
    target = load_target("./my-pi.yaml", folder=tmp_path)
    assert (target.name, target.memory.available_mib, target.storage.free_mib) == ("my-pi", 6192, 9000)
    assert target.runtimes == profile("pi5-8gb").runtimes


def test_the_documentation_lists_every_profile() -> None:
    text = (profiles_folder().parent / "docs" / "targets.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []
