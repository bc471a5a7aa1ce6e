"""What would fail the proof of a model, or its first chat, is refused by the plan, with the file to look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgec import api
from edgec.errors import Diagnostic, InputError

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """
schema: edgec/recipe/v1
name: {name}
version: 1.0.0
target: pi5-8gb
source: {{path: model}}
context: 128
artifacts: [{{format: gguf, quantize: {{scheme: q8_0}}{more}}}]
"""
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    for path in MODEL.iterdir():
        if path.name != "model.safetensors" and path.suffix != ".txt":
            shutil.copy(path, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").symlink_to(MODEL / "model.safetensors")
    return tmp_path


def _changed(folder: Path, file: str, change: Change) -> None:
    path = folder / "model" / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _refusal(folder: Path, *, name: str = "m", more: str = "") -> Diagnostic:
    (folder / "r.yaml").write_text(RECIPE.format(name=name, more=more))
    shop = api.Workshop(cache=folder / "cache", config=folder / "config")
    with pytest.raises(InputError) as caught:
        api.plan(folder / "r.yaml", workshop=shop)
    assert len(caught.value.diagnostics) == 1
    return caught.value.diagnostics[0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("\n{% for x in %}", "the chat template is not valid jinja (its line 2): expected an expression"),
        ("{{ raise_exception('no') }}", "the chat template cannot be rendered: no"),
        ("{% if false %}x{% endif %}\n", "the chat template renders nothing for a conversation"),
        ("", "the chat template renders nothing for a conversation"),
    ],
)
def test_a_chat_template_that_makes_no_prompt(folder: Path, template: str, message: str) -> None:
    _changed(folder, "tokenizer_config.json", lambda c: c.update(chat_template=template))
    refusal = _refusal(folder)
    assert refusal.message.startswith(message)
    assert refusal.place == str(folder / "model" / "tokenizer_config.json")
    assert "`tokenizer: {chat_template: chat.jinja}`" in (refusal.hint or "")
    (folder / "chat.jinja").write_text("{{ messages[0].content }}")
    (folder / "r.yaml").write_text(RECIPE.format(name="m", more=", tokenizer: {chat_template: chat.jinja}"))
    assert api.plan(folder / "r.yaml", workshop=api.Workshop(cache=folder / "cache")).artifacts


def test_a_template_of_the_recipe_that_cannot_be_rendered(folder: Path) -> None:
    (folder / "chat.jinja").write_text("{{ raise_exception('never') }}")
    refusal = _refusal(folder, more=", tokenizer: {chat_template: chat.jinja}")
    assert refusal.message == "the chat template cannot be rendered: never"
    assert refusal.place == str(folder / "chat.jinja")


def test_a_template_in_a_file_of_its_own(folder: Path) -> None:
    _changed(folder, "tokenizer_config.json", lambda c: c.pop("chat_template"))
    (folder / "model" / "chat_template.jinja").write_text("{% endfor %}")
    assert _refusal(folder).place == str(folder / "model" / "chat_template.jinja")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "tokenizer.json",
            lambda t: t["model"]["merges"].insert(0, ["zzz", "yyy"]),
            "Hugging Face `tokenizers` cannot",
        ),
        ("tokenizer.json", lambda t: t["model"]["vocab"].popitem(), "Hugging Face `tokenizers` cannot read it: Token"),
        ("tokenizer.json", lambda t: t.update(post_processor={"type": "Odd"}), "Hugging Face `tokenizers` cannot"),
        (
            "tokenizer_config.json",
            lambda c: c.update({"eos_token": "<|nope|>"}),
            "the eos token '<|nope|>' is not in the",
        ),
        ("config.json", lambda c: c.update(eos_token_id=99999), "the eos token has id 99999, but the vocabulary has"),
        ("config.json", lambda c: c.update(architectures="LlamaForCausalLM"), "architectures is the text 'LlamaFor"),
    ],
)
def test_a_damaged_file_is_named_with_its_folder(folder: Path, file: str, change: Change, message: str) -> None:
    _changed(folder, file, change)
    refusal = _refusal(folder)
    assert refusal.message.startswith(message)
    assert refusal.place == str(folder / "model" / file)
    assert refusal.hint


def test_a_name_that_llama_cpp_cannot_load(folder: Path) -> None:
    refusal = _refusal(folder, name="my-phi3-killer")
    assert "cannot load this one: its vocabulary has no `</s>`, `<unk>`, `<s>`" in refusal.message
    assert refusal.span is not None
    assert refusal.span.source_line == "name: my-phi3-killer"
