"""Targets load by name and by path, extend each other, and point at what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.errors import InputError, Span
from edgec.target.load import list_targets, load_target, profiles_folder

PLANNED = {
    "pi5-4gb", "pi5-8gb", "pi5-16gb", "rk3588-8gb", "rk3588-16gb", "orin-nano-8gb", "orin-nano-super-8gb",
    "orin-nx-16gb", "agx-orin-64gb", "wasm-browser",
}  # fmt: skip


def test_every_promised_target_is_there() -> None:
    assert set(list_targets()) >= PLANNED


@pytest.mark.parametrize("name", list_targets())
def test_a_profile_has_the_name_of_its_file(name: str) -> None:
    assert load_target(name, folder=Path("/nowhere")).name == name


def test_a_profile_of_ones_own_extends_a_built_in_one(tmp_path: Path) -> None:
    text = "schema: edgec/target/v1\nextends: pi5-8gb\nname: my-pi\nmemory: {os_reserve_mib: 1500}\n"
    (tmp_path / "my-pi.yaml").write_text(text, encoding="utf-8")
    mine, base = load_target("my-pi.yaml", folder=tmp_path), load_target("pi5-8gb", folder=tmp_path)
    assert mine.memory.os_reserve_mib == 1500
    assert mine.memory.total_mib == base.memory.total_mib
    assert mine.runtimes == base.runtimes


def test_a_mistake_in_a_profile_points_into_it(tmp_path: Path) -> None:
    text = "schema: edgec/target/v1\nextends: pi5-8gb\nname: my-pi\nmemory: {totl_mib: 1}\ncpu: {threads: four}\n"
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_target("./p.yaml", folder=tmp_path)
    spans = [d.span for d in caught.value.diagnostics]
    assert [(s.line, s.column) for s in spans if s is not None] == [(4, 10), (5, 16)]


@pytest.mark.parametrize(
    "name", ["pi5-8g", "../../etc/passwd", "", "_base", "p\0.yaml", "a" * 5000, "a" * 5000 + ".yaml"]
)
def test_an_unknown_target_is_an_error_at_its_place(name: str, tmp_path: Path) -> None:
    span = Span("r.yaml", 4, 9, 6, "target: pi5-8g")
    with pytest.raises(InputError) as caught:
        load_target(name, folder=tmp_path, span=span)
    assert caught.value.diagnostics[0].span == span
    if name == "pi5-8g":
        assert "did you mean `pi5-8gb`?" in (caught.value.diagnostics[0].hint or "")


def test_the_checkouts_profiles_are_used() -> None:
    assert profiles_folder() == Path(__file__).parents[2] / "targets"
