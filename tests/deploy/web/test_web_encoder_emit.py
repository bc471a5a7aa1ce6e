"""What the web emitter writes for a sentence encoder. `EDGEC_UPDATE_GOLDENS=1` writes the goldens anew."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers

from edgec.deploy.model import ServedModel
from edgec.deploy.web.emit import can_have, emit, refuse, seal
from edgec.deploy.web.runtime import every_runtime, locked_runtimes
from edgec.prove.corpus import corpus
from edgec.recipe.package import WebPackage

GOLDENS = Path(__file__).parent / "goldens" / "onnx"
SHOWN = ("index.html", "model.json", "nginx.conf", "Caddyfile", "README.md")
# No text of another character has it after normalization, and no table has it.
BETWEEN = "\u2603"
CHARACTERS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
CHECK = """
import fs from "node:fs";
import { bertTokenizer } from "./bert.js";
const [tokenizer, texts] = process.argv.slice(2).map((path) => JSON.parse(fs.readFileSync(path)));
const tokenize = bertTokenizer(tokenizer, 300);
fs.writeFileSync("found.json", JSON.stringify(texts.map(tokenize)));
"""


def site(model: ServedModel, settings: WebPackage | None = None) -> dict[str, str]:
    """The site's files as texts, by their paths below `site/`."""
    files = emit(settings or WebPackage(), model, weights_bytes=23_000_000).files
    return {path.removeprefix("site/"): data.decode() for path, data in files.items()}


@pytest.mark.parametrize("name", SHOWN)
def test_an_encoders_files(name: str, encoder: ServedModel) -> None:
    made = site(encoder)[name]
    golden = GOLDENS / name
    if os.environ.get("EDGEC_UPDATE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text(encoding="utf-8")


def test_the_page_finds_its_parts_and_asks_nobody_else(encoder: ServedModel) -> None:
    files = site(encoder)
    scripts = [name for name in files if name.endswith(".js")]
    ids = re.findall(r'id="([a-z]+)"', files["index.html"])
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'at\("([a-z]+)"\)|say\("([a-z]+)"', files["app.js"] + files["page.js"]))
    assert {a or b for a, b in wanted} <= set(ids)
    carried = {f"./{r.folder}/{f.file}" for r in locked_runtimes("onnx") for f in r.files}
    for name in (*scripts, "index.html", "model.json"):
        assert re.findall(r"https?://|[\"'(]//", files[name]) == [], name
        asked = set(re.findall(r'from "([^"]+)"', files[name])) if name in scripts else set()
        assert asked <= carried | {f"./{other}" for other in scripts}, name
    assert "blob:" not in files["index.html"].partition("connect-src")[0]


def test_the_size_is_that_of_the_file_that_was_made(encoder: ServedModel) -> None:
    sealed = seal(emit(WebPackage(), encoder, weights_bytes=9), 7)
    assert json.loads(sealed.files["site/model.json"])["size_bytes"] == 7
    assert sealed.files.keys() == emit(WebPackage(), encoder, weights_bytes=9).files.keys()


def test_onnxruntimes_licence_is_carried(encoder: ServedModel) -> None:
    # Its package on npm has none.
    assert not [f for f in locked_runtimes("onnx")[0].files if "LICEN" in f.file]
    assert "Microsoft Corporation" in site(encoder)["LICENCE.onnxruntime.txt"]


def test_names_of_stored_files_are_of_one_package() -> None:
    names = [runtime.stored_name(file) for runtime in every_runtime() for file in runtime.files]
    assert len(names) == len(set(names))


def test_what_an_encoders_page_cannot_do_is_refused(encoder: ServedModel) -> None:
    assert can_have(encoder)
    assert list(refuse(WebPackage(), encoder)) == []
    (mistake,) = refuse(WebPackage(max_tokens=5), encoder)
    assert mistake.at == ("package", "web", "max_tokens")
    other = replace(encoder, bert_tokenizer=False)
    assert not can_have(other)
    (mistake,) = refuse(WebPackage(), other)
    assert "tokenizes as BERT does" in mistake.message


def table(text: str, name: str) -> set[str]:
    """The characters of one of unicode.js's classes."""
    found = re.search(rf"export const {name} = `([^`]+)`", text)
    assert found is not None
    ends = [[int(end, 16) for end in item.split("-")] for item in found[1].split()]
    points = {point for first, *last in ends for point in range(first, (last or [first])[0] + 1)}
    return {chr(point) for point in points if not 0xD800 <= point < 0xE000}


def test_the_pages_classes_of_characters_are_the_tokenizers(encoder: ServedModel) -> None:
    text = site(encoder)["unicode.js"]
    whole = BETWEEN.join(CHARACTERS)
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}

    def normalized(**on: bool) -> dict[str, str]:
        # The separator is itself a character of the list, and parts the text once more.
        parts = normalizers.BertNormalizer(**{**off, **on}).normalize_str(whole).split(BETWEEN)
        own = CHARACTERS.index(BETWEEN)
        return dict(zip(CHARACTERS, [*parts[:own], BETWEEN, *parts[own + 2 :]], strict=True))

    cleaned = normalized(clean_text=True)
    assert table(text, "CONTROL") == {c for c, made in cleaned.items() if made == ""}
    assert table(text, "SPACE") == {c for c, made in cleaned.items() if made == " "}
    assert table(text, "MARK") == {c for c, made in normalized(strip_accents=True).items() if made == ""}
    assert table(text, "IDEOGRAPH") == {c for c, m in normalized(handle_chinese_chars=True).items() if m == f" {c} "}
    apart = " ".join(f"{BETWEEN}{c}{BETWEEN}" for c in CHARACTERS)
    pieces = {piece for piece, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(apart)}
    assert table(text, "PUNCTUATION") == {piece for piece in pieces if len(piece) == 1 and piece != BETWEEN}


@pytest.mark.toolchain
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_every_character_is_tokenized_as_by_the_source(
    encoder: ServedModel, minilm_checkpoint: Path, tmp_path: Path
) -> None:
    path = minilm_checkpoint / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = tokenizer.get_added_tokens_decoder()
    texts = [piece.text for piece in corpus([token.content for token in special.values()])]
    texts += [f"a{character}b" for character in CHARACTERS[:0x20000]]
    for name, text in site(encoder).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (package,) = (r for r in locked_runtimes("onnx") if r.folder == "tokenizers")
    subprocess.run(["npm", "pack", package.spec, "--ignore-scripts", "--loglevel=error"], cwd=tmp_path, check=True)
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xzf", package.tarball, "-C", "unpacked"], cwd=tmp_path, check=True)
    for file in package.files:
        (tmp_path / "tokenizers").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "unpacked" / file.member, tmp_path / "tokenizers" / file.file)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "check.js").write_text(CHECK)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    subprocess.run(["node", "check.js", path, "texts.json"], cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "found.json").read_bytes())
    wanted = [
        ids if len(ids) <= 300 else [*ids[:299], ids[-1]] for ids in (e.ids for e in tokenizer.encode_batch(texts))
    ]
    assert [text for text, own, ids in zip(texts, wanted, found, strict=True) if own != ids] == []
