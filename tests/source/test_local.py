"""Local checkpoints: what is read of a good one, and what is said about every broken one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade import MODEL, safetensors_bytes

from edgec.documents.canonical import sha256_bytes, sha256_file
from edgec.errors import InputError
from edgec.source.local import open_local

Make = Callable[..., Path]
ONE = safetensors_bytes({"w": ("F32", [1], b"\0\0\0\0")})
SHARDS = {
    "model-00001-of-00002.safetensors": safetensors_bytes({"a": ("F32", [1], b"aaaa"), "b": ("F16", [2], b"bbbb")}),
    "model-00002-of-00002.safetensors": safetensors_bytes({"c": ("BF16", [2], b"cccc")}),
}
FIRST, SECOND = SHARDS
INDEX = "model.safetensors.index.json"


def index(**weight_map: str) -> dict[str, bytes]:
    return {INDEX: json.dumps({"metadata": {"total_size": 12}, "weight_map": weight_map}).encode()}


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_local(folder)
    assert all(d.hint for d in caught.value.diagnostics)
    return str(caught.value)


def test_the_real_model() -> None:
    checkpoint = open_local(MODEL)
    header = checkpoint.header
    assert len(header.tensors) == 56
    assert header.config["model_type"] == "llama"
    assert header.identity.uri == "file:docs-llama"
    assert header.identity.revision is None
    assert header.files["tokenizer.json"] == (MODEL / "tokenizer.json").read_bytes()
    assert "held_out.txt" not in header.files
    assert {f.name: f.digest for f in header.identity.files} == {
        n: sha256_file(MODEL / n) for n in [*header.files, "model.safetensors"]
    }
    assert checkpoint.root == MODEL


def test_digests_of_weights_come_from_the_caller_and_of_small_files_from_what_was_read(checkpoint: Make) -> None:
    asked: list[str] = []

    def digest(path: Path) -> str:
        asked.append(path.name)
        return "sha256:known"

    opened = open_local(checkpoint({"model.safetensors": ONE}), digest_file=digest)
    assert asked == ["model.safetensors"]
    digests = {f.name: f.digest for f in opened.header.identity.files}
    small = sha256_bytes(opened.header.files["config.json"])
    assert digests == {"config.json": small, "model.safetensors": "sha256:known"}


def test_sharded(checkpoint: Make) -> None:
    opened = open_local(checkpoint(SHARDS | index(a=FIRST, b=FIRST, c=SECOND)))
    assert {n: t.file for n, t in opened.header.tensors.items()} == {"a": FIRST, "b": FIRST, "c": SECOND}
    assert [f.name for f in opened.header.identity.files] == ["config.json", FIRST, SECOND, INDEX]


def test_a_single_file_wins_over_an_index(checkpoint: Make) -> None:
    opened = open_local(checkpoint({"model.safetensors": ONE} | index(a="gone.safetensors")))
    assert list(opened.header.tensors) == ["w"]


def test_a_sentence_transformers_encoder(checkpoint: Make) -> None:
    extra = {"modules.json": b"[]", "1_Pooling/config.json": b"{}", "vocab.txt": b"[PAD]", "notes.txt": b"-"}
    opened = open_local(checkpoint({"model.safetensors": ONE} | extra))
    assert sorted(opened.header.files) == ["1_Pooling/config.json", "config.json", "modules.json", "vocab.txt"]


def test_a_folder_of_links_as_the_hub_cache_makes_it(checkpoint: Make, tmp_path: Path) -> None:
    blobs = checkpoint({"model.safetensors": ONE})
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("..") / blobs.name / file.name)
    opened = open_local(snapshot)
    assert list(opened.header.tensors) == ["w"]
    assert opened.header.identity.files[1].digest == sha256_bytes(ONE)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        (b"---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        (b"---\ntags: [x]\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        (b"---\nlicense: other\n---\n", "other"),
        (b"---\ntags: [x]\n---\nlicense: mit\n", None),
        (b"# no front matter\nlicense: mit\n", None),
    ],
)
def test_the_licence_of_the_model_card(checkpoint: Make, card: bytes, licence: str | None) -> None:
    folder = checkpoint({"model.safetensors": ONE, "README.md": card})
    assert open_local(folder).header.identity.licence == licence
    assert open_local(folder, licence="mine").header.identity.licence == "mine"


def test_no_folder(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone'}: error: does not exist" in refusal(tmp_path / "gone")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "model.gguf: error: is not a folder" in refusal(tmp_path / "model.gguf")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "the folder is empty" in refusal(tmp_path)


def test_no_config(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(ONE)
    assert "config.json is missing" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{", "config.json: error: is not JSON"),
        (b"\xff", "config.json: error: is not JSON"),
        (b"[]", "config.json: error: is not a JSON object"),
        (b"[" * 100_000, "config.json: error: is not JSON: nested too deep"),
        (b"version https://git-lfs.github.com/spec/v1\n", "config.json: error: is a git-LFS pointer"),
    ],
)
def test_a_wrong_config(checkpoint: Make, config: bytes, message: str) -> None:
    assert message in refusal(checkpoint({"model.safetensors": ONE, "config.json": config}))


@pytest.mark.parametrize("method", ["awq", "gptq", "fp8", "bitsandbytes"])
def test_a_quantized_checkpoint(checkpoint: Make, method: str) -> None:
    config = {"quantization_config": {"quant_method": method}}
    text = refusal(checkpoint({"model.safetensors": ONE}, config=config))
    assert f"the checkpoint is quantized already (quantization_config.quant_method: {method})" in text
    assert "use the unquantized checkpoint" in text


def test_integers_are_taken_only_where_the_config_explains_them(checkpoint: Make) -> None:
    weights = safetensors_bytes({"a.qweight": ("I32", [8, 1], bytes(32))})
    folder = checkpoint({"model.safetensors": weights})
    assert "dtype I32 is not one edgec compiles from" in refusal(folder)
    config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 8}}
    (folder / "config.json").write_text(json.dumps(config))
    header = open_local(folder).header
    assert header.quantization is not None
    assert header.tensors["a.qweight"].dtype == "I32"


def test_the_file_of_modelopt_says_it_as_well(checkpoint: Make) -> None:
    sidecar = b'{"quantization": {"quant_algo": "W8A8_SQ_PER_CHANNEL"}}'
    header = open_local(checkpoint({"model.safetensors": ONE, "hf_quant_config.json": sidecar})).header
    assert header.quantization is not None
    assert header.quantization.layout == "modelopt_int8_sq"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pytorch_model.bin", "the weights are pickle files (pytorch_model.bin), which run code when they are opened"),
        ("consolidated.00.pth", "the weights are pickle files"),
        ("adapter_model.safetensors", "this is a LoRA adapter, not a whole model"),
        ("model-q4.gguf", "the folder holds GGUF files"),
        ("notes.md", "no weights: neither model.safetensors nor model.safetensors.index.json"),
    ],
)
def test_no_safetensors_weights(checkpoint: Make, file: str, message: str) -> None:
    assert message in refusal(checkpoint({file: b"x"}))


def test_a_pointer_instead_of_weights(checkpoint: Make) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 11547040\n"
    text = refusal(checkpoint({"model.safetensors": pointer}))
    assert "model.safetensors: error: this is a git-LFS pointer (a few lines of text), not the weights" in text
    assert "git lfs pull" in text


def test_a_tokenizer_that_is_too_large_to_be_one(checkpoint: Make) -> None:
    folder = checkpoint({"model.safetensors": ONE})
    with (folder / "tokenizer.json").open("wb") as sparse:
        sparse.truncate((128 << 20) + 1)
    assert "tokenizer.json: error: is larger than 134217728 bytes" in refusal(folder)


def test_a_missing_shard(checkpoint: Make) -> None:
    text = refusal(checkpoint({FIRST: SHARDS[FIRST]} | index(a=FIRST, b=FIRST, c=SECOND)))
    assert f"{SECOND}: error: the shard is missing (it holds tensor 'c' and others)" in text


def test_an_index_that_disagrees_names_every_tensor(checkpoint: Make) -> None:
    text = refusal(checkpoint(SHARDS | index(a=FIRST, c=FIRST, d=SECOND)))
    assert f"{FIRST}: tensor 'b': error: is not listed in {INDEX}" in text
    assert f"{SECOND}: tensor 'c': error: is listed under {FIRST} in {INDEX}" in text
    assert f"{SECOND}: tensor 'd': error: is listed in {INDEX} but missing from the file" in text


def test_a_tensor_in_two_shards(checkpoint: Make) -> None:
    twice = {FIRST: SHARDS[FIRST], SECOND: safetensors_bytes({"a": ("F32", [1], b"aaaa"), "c": ("F32", [1], b"cccc")})}
    text = refusal(checkpoint(twice | index(a=FIRST, b=FIRST, c=SECOND)))
    assert f"{SECOND}: tensor 'a': error: stands in {FIRST} as well" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "has no weight_map"),
        (b'{"weight_map": {"a": "../../etc/model.safetensors"}}', "is not a plain .safetensors file name"),
        (b'{"weight_map": {"a": "/etc/model.safetensors"}}', "is not a plain .safetensors file name"),
        (b'{"weight_map": {"a": "pytorch_model.bin"}}', "is not a plain .safetensors file name"),
        (b'{"weight_map": {"a": 1}}', "is not a plain .safetensors file name"),
        (b"nope", "is not JSON"),
    ],
)
def test_a_wrong_index(checkpoint: Make, content: bytes, message: str) -> None:
    folder = checkpoint({INDEX: content})
    text = refusal(folder)
    assert text.startswith(f"{folder / INDEX}: ")
    assert message in text
