"""Cross checks on recipes made for it; the words of the messages are goldens in tests/recipe/goldens."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.errors import InputError
from edgec.plan.check import check, load_checked
from edgec.plan.template_check import template_mistake
from edgec.recipe.load import load_recipe
from edgec.target.load import load_target

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
GOLDENS = ROOT / "tests" / "recipe" / "goldens"
BOARD = GOLDENS / "files" / "board.yaml"


def messages(*sets: str, target: str = "pi5-8gb") -> list[str]:
    loaded = load_recipe(QUICKSTART, sets=sets, env={})
    return [d.message for d in check(loaded, load_target(target, folder=ROOT))]


def test_the_quickstart_has_no_mistake_on_any_target() -> None:
    for target in ("pi5-4gb", "pi5-16gb", "rk3588-8gb", "orin-nano-8gb", "wasm-browser"):
        assert messages(target=target) == []


def test_the_context_of_an_npu_does_not_bind_its_cpu() -> None:
    # RKLLM takes at most 16384 tokens; a GGUF runs on the CPU cores.
    assert messages("context=32768", target="rk3588-8gb") == []
    assert messages("context=32768", target=str(BOARD)) == [
        "a context of 32768 is more than the accelerator of `board` takes"
    ]


def test_a_default_scheme_that_the_target_refuses_is_found(tmp_path: Path) -> None:
    profile = tmp_path / "only-q8.yaml"
    runtimes = (
        "runtimes: {llama_cpp: {schemes: [q8_0], preferred_schemes: [], refused_schemes: {q4_k_m: too slow here}}}"
    )
    profile.write_text(f"schema: edgec/target/v1\nextends: {BOARD}\nname: only-q8\n{runtimes}\n", encoding="utf-8")
    loaded = load_recipe(QUICKSTART, sets=["artifacts=[{format: gguf}]"], env={})
    (mistake,) = check(loaded, load_target(str(profile), folder=ROOT))
    assert mistake.message == "`only-q8` does not take `q4_k_m`: too slow here"
    assert mistake.span is not None
    assert mistake.span.file == "--set"


@pytest.mark.parametrize("bad", ["a\0b", "x" * 300, "x/" * 3000, "~", "..", "*"])
def test_names_that_no_file_has(bad: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    text = QUICKSTART.read_text(encoding="utf-8").replace("../models/docs-llama/held_out.txt", "PLACE")
    recipe.write_text(text.replace("../models", str(ROOT / "models")).replace("PLACE", _quoted(bad)), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_checked(recipe, env={})
    (mistake,) = caught.value.diagnostics
    assert mistake.span is not None
    assert "held-out text" in mistake.message


def _quoted(text: str) -> str:
    return '"' + text.replace("\0", "\\0") + '"'


def test_mistakes_of_target_and_recipe_come_together() -> None:
    with pytest.raises(InputError) as caught:
        load_checked(QUICKSTART, sets=["target=pi6", "prove.held_out=nope.txt", "batch=many"], env={})
    assert len(caught.value.diagnostics) == 3


def test_real_chat_templates_pass(tmp_path: Path) -> None:
    assert template_mistake(GOLDENS / "files" / "good.jinja", None) == []
    loops = tmp_path / "t.jinja"
    loops.write_text(
        "{%- for m in messages %}{% if m.x is none %}{% continue %}{% endif %}{% endfor %}", encoding="utf-8"
    )
    assert template_mistake(loops, None) == []


def test_a_wrong_chat_template_points_into_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{% for m in messages %}\n  {% endfi %}\n{% endfor %}\n", encoding="utf-8")
    (mistake,) = template_mistake(path, None)
    assert mistake.span is not None
    assert (mistake.span.file, mistake.span.line, mistake.span.column) == (str(path), 2, 3)
