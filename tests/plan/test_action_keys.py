"""An action's key changes with everything its result depends on, and with nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgec import api
from edgec.plan.fingerprint import build_fingerprint
from edgec.plan.keys import made_with, tool_versions

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {path: model, licence: apache-2.0}
context: 256
artifacts:
  - format: gguf
    quantize: {scheme: q4_k_m, imatrix: {calibration: calibration.txt}}
  - format: gguf
    quantize: {scheme: q8_0}
prove: {held_out: held_out.txt}
"""
ALL = frozenset({"reference", "imatrix", "compile gguf-q4_k_m", "compile gguf-q8_0", "bundle"}) | {
    "prove gguf-q4_k_m",
    "prove gguf-q8_0",
}
PROOFS = frozenset({"prove gguf-q4_k_m", "prove gguf-q8_0", "bundle"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe with a copy of the model and its texts."""
    shutil.copytree(MODEL, tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "calibration.txt").write_text("To calibrate with. " * 50, encoding="utf-8")
    (tmp_path / "held_out.txt").write_text("To prove with. " * 100, encoding="utf-8")
    return tmp_path


def keys(folder: Path, *sets: str) -> dict[str, str]:
    """Keys by the actions' names, without the digest that some names end with."""
    shop = api.Workshop(cache=folder / "cache", config=folder / "config", env={}, offline=True)
    made = api.plan(folder / "recipe.yaml", sets=sets, workshop=shop, output=folder / "artifacts")
    return {a.kind if a.kind in ("reference", "imatrix") else a.name: a.key for a in made.actions}


def fingerprint(folder: Path, *sets: str) -> str:
    """The fingerprint of the whole build, as `edgec build` asks for it before planning."""
    shop = api.Workshop(cache=folder / "cache", config=folder / "config", env={}, offline=True)
    made = api.plan(folder / "recipe.yaml", sets=sets, workshop=shop, output=folder / "artifacts")
    return build_fingerprint(made.loaded, made.target, made.source, (made.signer, made.dify_signer), shop.digests)


def changed(folder: Path, change: Callable[[Path], object], *sets: str) -> frozenset[str]:
    """Names of the actions whose keys are others after `change` and with `sets`."""
    before, whole = keys(folder), fingerprint(folder)
    assert before.keys() == ALL
    assert fingerprint(folder) == whole
    change(folder)
    after = keys(folder, *sets)
    assert after.keys() == ALL
    # No key may change under an equal fingerprint, or an unchanged build would be seen where there is none.
    assert before == after or fingerprint(folder, *sets) != whole
    return frozenset(name for name in ALL if before[name] != after[name])


def append(name: str, text: str) -> Callable[[Path], object]:
    """Adds to the end of a file."""

    def change(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    return change


def nothing(folder: Path) -> None:
    """No change of a file."""


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("version=1.0.1", {"bundle"}),
        ("description=new", {"bundle"}),
        ("target=pi5-16gb", {"bundle"}),
        ("context=128", {"bundle"}),
        ("prove.max_kl=0.5", PROOFS),
        ("prove.windows=3", PROOFS),
        ("artifacts[0].quantize.imatrix.max_tokens=2048",
         {"imatrix", "compile gguf-q4_k_m", "prove gguf-q4_k_m", "bundle"}),
        ("artifacts[1].quantize.overrides=[{tensors: blk.0.*, type: f16}]",
         {"compile gguf-q8_0", "prove gguf-q8_0", "bundle"}),
        ("artifacts[1].shard_size_mib=2", {"compile gguf-q8_0", "prove gguf-q8_0", "bundle"}),
        # The model's name is in the GGUF's metadata.
        ("name=other", ALL),
    ],
)  # fmt: skip
def test_settings(folder: Path, setting: str, expected: frozenset[str]) -> None:
    assert changed(folder, nothing, setting) == expected


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("calibration.txt", "More.", {"imatrix", "compile gguf-q4_k_m", "prove gguf-q4_k_m", "bundle"}),
        ("held_out.txt", "More.", PROOFS),
        ("model/README.md", "More.", {"bundle"}),
        ("model/tokenizer_config.json", " ", ALL),
        ("model/tokenizer.json", " ", ALL),
        ("model/config.json", " ", ALL),
        # A comment is not the recipe.
        ("recipe.yaml", "# a comment\n", set()),
    ],
)
def test_files(folder: Path, file: str, text: str, expected: frozenset[str]) -> None:
    assert changed(folder, append(file, text)) == expected


def test_one_changed_weight_changes_everything(folder: Path) -> None:
    def flip(folder: Path) -> None:
        path = folder / "model" / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(data)

    assert changed(folder, flip) == ALL


def test_a_chat_template_of_the_recipe_counts_by_its_content(folder: Path) -> None:
    template = folder / "template.jinja"
    template.write_text("{{ messages[0].content }}", encoding="utf-8")
    setting = f"artifacts[1].tokenizer.chat_template={template}"
    first = keys(folder, setting)
    template.write_text("{{ messages[-1].content }}", encoding="utf-8")
    second = keys(folder, setting)
    assert first["compile gguf-q8_0"] != second["compile gguf-q8_0"]
    assert first["prove gguf-q8_0"] != second["prove gguf-q8_0"]
    assert first["compile gguf-q4_k_m"] == second["compile gguf-q4_k_m"]


def test_nothing_depends_on_where_the_files_lie(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = keys(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "deep"
    shutil.copytree(folder, elsewhere)
    assert keys(elsewhere) == before


def test_a_bundle_names_the_tools_of_all_its_actions(folder: Path) -> None:
    shop = api.Workshop(cache=folder / "cache", config=folder / "config", env={}, offline=True)
    actions = api.plan(folder / "recipe.yaml", workshop=shop, output=folder / "artifacts").actions
    used = {name for kind in ("reference", "imatrix", "compile", "prove") for name in tool_versions(kind)}
    assert used | {"edgec"} == made_with(actions).keys()


def test_a_text_too_long_for_a_path_is_planned(folder: Path) -> None:
    """Every text of a recipe may name a file, and the system refuses to look for names of this length."""
    assert changed(folder, lambda _: None, f"description={'word ' * 80}") == {"bundle"}


def test_an_emulation_is_an_action_of_its_own(folder: Path) -> None:
    before, after = keys(folder), keys(folder, "prove.emulate=true")
    own = {"emulate gguf-q4_k_m", "emulate gguf-q8_0"}
    assert after.keys() - before.keys() == own
    assert {name for name in before if before[name] != after[name]} == {"bundle"}
    shop = api.Workshop(cache=folder / "cache", config=folder / "config", env={}, offline=True)
    made = api.plan(folder / "recipe.yaml", sets=["prove.emulate=true"], workshop=shop, output=folder / "artifacts")
    tools = made_with(made.actions)
    assert tools["emulated onnxruntime"] == "1.26.0"
    assert "onnxruntime" not in tools
    assert tools["toolchain emulation"].startswith("sha256:")
