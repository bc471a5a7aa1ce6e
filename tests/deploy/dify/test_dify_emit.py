"""The package that is made of a model: its documents say what was planned, and the SDK reads them as they are meant."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dify_cases import CHATML, KeyFile, served
from ruamel.yaml import YAML

from edgec.deploy.dify.emit import emit, refuse, seal
from edgec.deploy.dify.package import MAX_BYTES, PluginPackage, read_package
from edgec.deploy.dify.signature import unsigned, verify_package
from edgec.deploy.model import Emitted, ServedModel
from edgec.errors import ToolError
from edgec.events import silent
from edgec.recipe.package import DifyPackage, LocalText
from edgec.toolchain.environments import find_toolchain, install, run_json
from edgec.toolchain.interpreter import find_interpreter

ACME = DifyPackage(author="acme")
KINDS = ["generator", "embedder", "reranker"]
Sdk = Callable[[PluginPackage], dict[str, Any]]


def package_of(emitted: Emitted) -> PluginPackage:
    return read_package(emitted.files[emitted.facts["path"]])


def made(model: ServedModel, settings: DifyPackage = ACME) -> PluginPackage:
    return package_of(emit(settings, model, Path))


def document(package: PluginPackage, name: str) -> Any:
    content = package.content(name)
    assert content is not None, f"{name} is not among {[n for n, _ in package.files]}"
    return YAML(typ="safe", pure=True).load(content.decode())


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Sdk:
    """Reads a package with Dify's SDK, in the toolchain's environment; $EDGEC_TEST_TOOLCHAINS keeps it between runs."""
    folder = tmp_path_factory.mktemp("sdk")
    toolchain = find_toolchain("dify")
    try:
        find_interpreter(toolchain, os.environ)
    except ToolError as error:
        pytest.skip(error.diagnostics[0].message)
    root = Path(os.environ.get("EDGEC_TEST_TOOLCHAINS") or folder / "toolchains")
    environment = install(toolchain, root, offline=False, report=silent, log=folder / "install.log")
    script = Path(__file__).with_name("read_with_sdk.py")

    def read(package: PluginPackage) -> dict[str, Any]:
        place = folder / package.checksum
        for name, content in package.files:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        answer: dict[str, Any] = run_json(
            environment, script, {"folder": str(place)}, timeout_s=60, log=folder / "read.log"
        )
        return answer

    return read


@pytest.mark.toolchain
@pytest.mark.parametrize("kind", KINDS)
def test_the_sdk_reads_the_documents(kind: str, request: pytest.FixtureRequest, sdk: Sdk) -> None:
    model: ServedModel = request.getfixturevalue(kind)
    description = LocalText(en_US="no", zh_Hans="温度: 1 # 不是注释")
    package = made(model, DifyPackage(author="acme", label=LocalText(en_US="1.0"), description=description))
    read = sdk(package)
    manifest, provider = read["manifest"], read["provider"]
    assert (manifest["author"], manifest["name"], manifest["version"]) == ("acme", "small", "1.0.0")
    assert manifest["description"]["en_US"] == "no"
    assert manifest["description"]["zh_Hans"] == description.zh_Hans
    assert manifest["label"]["en_US"] == "1.0"
    assert manifest["meta"]["arch"] == ["amd64", "arm64"]
    (found,) = provider["models"]
    assert provider["supported_model_types"] == [found["model_type"]]
    assert found["model_properties"]["context_size"] == model.context
    assert [f["variable"] for f in provider["provider_credential_schema"]["credential_form_schemas"]] == [
        "endpoint_url",
        "api_key",
    ]
    key = found["model_type"].replace("-", "_")
    assert provider["position"][key] == [found["model"]]
    for name in (*read["sources"], f"_assets/{manifest['icon']}", f"{manifest['meta']['runner']['entrypoint']}.py"):
        assert package.content(name), name


def test_a_text_generator(generator: ServedModel) -> None:
    found = document(made(generator), "models/llm/small.yaml")
    # Without the quantization: an app goes on after an update.
    assert found["model"] == "small"
    assert found["model_properties"] == {"mode": "chat", "context_size": 4096}
    assert found["features"] == ["structured-output"]
    rules = {rule["name"]: rule for rule in found["parameter_rules"]}
    assert (rules["max_tokens"]["default"], rules["max_tokens"]["max"]) == (512, 4096)
    assert document(made(served(context=256)), "models/llm/small.yaml")["parameter_rules"][5]["default"] == 128


def test_dots_of_a_recipes_name_stay_in_the_models_id_only() -> None:
    package = made(served(name="qwen2.5-0.5b"))
    assert document(package, "manifest.yaml")["name"] == "qwen2-5-0-5b"
    assert document(package, "models/llm/qwen2.5-0.5b.yaml")["model"] == "qwen2.5-0.5b"


def test_a_generator_without_a_chat_template_completes() -> None:
    found = document(made(served(chat_template=None)), "models/llm/small.yaml")
    assert found["model_properties"]["mode"] == "completion"


def test_an_embedding_names_its_weights(embedder: ServedModel) -> None:
    """Dify keeps vectors by the model's id: other weights must have another one."""
    found = document(made(embedder), "models/text_embedding/small-q8_0-384d-55555555.yaml")
    assert found["model_type"] == "text-embedding"
    assert found["label"] == {"en_US": "Small 0.1B (q8_0, 384 dimensions)", "zh_Hans": "Small 0.1B (q8_0, 384 维)"}
    assert found["model_properties"] == {"context_size": 512, "max_chunks": 32}
    assert made(served(kind="encoder", scheme="f16", pooling="mean")).content(
        "models/text_embedding/small-f16-384d-55555555.yaml"
    )
    retrained = replace(embedder, weights="sha256:" + "6" * 64)
    assert made(retrained).content("models/text_embedding/small-q8_0-384d-66666666.yaml")


def test_a_reranker(reranker: ServedModel) -> None:
    found = document(made(reranker), "models/rerank/small-q8_0.yaml")
    assert (found["model_type"], found["model_properties"]) == ("rerank", {"context_size": 512})


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_code_of_its_own_kind_is_there(kind: str, request: pytest.FixtureRequest) -> None:
    names = [n for n, _ in made(request.getfixturevalue(kind)).files]
    folders = {n.split("/")[1] for n in names if n.startswith("models/")}
    assert folders == {{"generator": "llm", "embedder": "text_embedding", "reranker": "rerank"}[kind]}
    assert "pyproject.toml" not in names
    assert not [n for n in names if n.endswith((".pyc", "/"))]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_for_people(kind: str, request: pytest.FixtureRequest) -> None:
    package = made(request.getfixturevalue(kind))
    for name in ("README.md", "readme/README_zh_Hans.md", "PRIVACY.md"):
        text = (package.content(name) or b"").decode()
        assert text.endswith("\n")
        assert not re.search(r"\{\{|\{%|None|Undefined", text)
    readme = (package.content("README.md") or b"").decode()
    for setting in (
        "FORCE_VERIFYING_SIGNATURE=true",
        "THIRD_PARTY_SIGNATURE_VERIFICATION_ENABLED=true",
        "THIRD_PARTY_SIGNATURE_VERIFICATION_PUBLIC_KEYS=/app/storage/",
        "docker compose down && docker compose up -d",
        "acme-small-1.0.0.difypkg",
    ):
        assert setting in readme


@pytest.mark.parametrize(
    ("kind", "context", "batch", "expected"),
    [
        ("encoder", 512, 1, " -c 512 --embeddings --pooling mean --api-key-file key.txt"),
        ("encoder", 2048, 2, " -c 4096 -np 2 --embeddings --pooling mean -b 2048 -ub 2048 --api-key-file key.txt"),
        ("reranker", 513, 1, " -c 513 --rerank -b 513 -ub 513 --api-key-file key.txt"),
        ("decoder", 4096, 1, " -c 4096 --api-key-file key.txt"),
    ],
)
def test_the_command_that_starts_the_server(kind: str, context: int, batch: int, expected: str) -> None:
    """llama.cpp embeds a text in one piece, of at most `-ub` tokens: 512 unless it is told."""
    pooling = None if kind == "decoder" else "mean"
    package = made(served(kind=kind, context=context, batch=batch, pooling=pooling, chat_template=None))
    command = f"    llama-server -m small-q4_k_m.gguf --host 0.0.0.0 --port 8080{expected}\n"
    for name in ("README.md", "readme/README_zh_Hans.md"):
        assert command in (package.content(name) or b"").decode()


def test_every_text_of_ours_is_chinese_too(generator: ServedModel) -> None:
    """Where English is written, Chinese stands beside it, but for addresses and icons."""
    package = made(generator)

    def look(value: Any, at: str) -> None:
        if isinstance(value, dict):
            if "en_US" in value and not at.endswith(("url", "icon_small", "icon_large")):
                assert value.get("zh_Hans"), at
            for key, item in value.items():
                look(item, f"{at}.{key}")
        elif isinstance(value, list):
            for item in value:
                look(item, at)

    for name, _ in package.files:
        if name.endswith(".yaml"):
            look(document(package, name), name)


def test_texts_that_nobody_wrote_are_in_both_languages(generator: ServedModel) -> None:
    description = document(made(generator), "manifest.yaml")["description"]
    assert description["en_US"] == "Small 0.1B (q4_k_m) on Raspberry Pi 5, 8 GB, served by llama.cpp"
    assert "提供服务" in description["zh_Hans"]
    own = document(made(served(description="x" * 5000)), "manifest.yaml")["description"]
    assert len(own["en_US"]) == 1023


def test_the_users_icon_is_used(generator: ServedModel, tmp_path: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    (tmp_path / "own.svg").write_bytes(svg)
    package = package_of(emit(DifyPackage(author="acme", icon="own.svg"), generator, lambda name: tmp_path / name))
    assert package.content("_assets/icon.svg") == svg


def test_sealing_signs_and_adds_the_wheels(generator: ServedModel, acme: KeyFile) -> None:
    emitted = emit(DifyPackage(author="acme", with_wheels=True), generator, Path)
    sealed = seal(emitted, acme.key, is_development=False, wheels={"a-1-py3-none-any.whl": b"PK"})
    package = package_of(sealed)
    found = verify_package(package, [acme.key.public])
    assert sealed.facts["unique_id"] == found.unique_id
    assert sealed.files[sealed.facts["public_key_path"]] == acme.public.read_bytes()
    assert sealed.facts["public_key"] == acme.public.read_text()
    assert (sealed.facts["key"], sealed.facts["development_key"]) == (acme.key.public.fingerprint, False)
    assert package.content("wheels/a-1-py3-none-any.whl") == b"PK"
    kept = dict(unsigned(package).files)
    del kept["wheels/a-1-py3-none-any.whl"]
    assert kept == dict(package_of(emitted).files)
    assert (package.content("requirements.txt") or b"").startswith(b"--no-index\n--find-links ./wheels/\ndify_plugin==")
    again = seal(emitted, acme.key, is_development=False, wheels={"a-1-py3-none-any.whl": b"PK"})
    assert again.files == sealed.files


def test_the_operator_reads_that_the_key_is_nobodys(generator: ServedModel, acme: KeyFile) -> None:
    emitted = emit(ACME, generator, Path)
    for is_development in (False, True):
        package = package_of(seal(emitted, acme.key, is_development=is_development))
        readme = (package.content("README.md") or b"").decode()
        assert readme.startswith("# small\n\n**Signed with a development key") is is_development
        assert ("开发密钥" in (package.content("readme/README_zh_Hans.md") or b"").decode()) is is_development
        assert readme.endswith((package_of(emitted).content("README.md") or b"").decode().partition("\n")[2])


def test_same_model_same_bytes(generator: ServedModel) -> None:
    assert emit(ACME, generator, Path).digest == emit(ACME, served(), Path).digest
    assert emit(ACME, generator, Path).digest != emit(ACME, served(context=8192), Path).digest


def test_a_package_too_large_with_wheels_is_refused(generator: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DifyPackage(author="acme", with_wheels=True)
    assert not list(refuse(settings, generator, Path))
    monkeypatch.setattr("edgec.deploy.dify.emit.wheel_bytes", lambda: MAX_BYTES)
    (mistake,) = refuse(settings, generator, Path)
    assert mistake.at == ("package", "dify", "with_wheels")
    assert str(MAX_BYTES) in mistake.message


def test_a_browser_serves_nothing(generator: ServedModel) -> None:
    browser = replace(generator, device=replace(generator.device, arch="wasm32", title="A browser"))
    (mistake,) = refuse(ACME, browser, Path)
    assert mistake.at == ("package", "dify")


def test_a_models_own_name_may_be_anything() -> None:
    package = made(served(kind="encoder", pooling="mean", title="a|b\n" * 2000))
    assert len(document(package, "models/text_embedding/small-q4_k_m-384d-55555555.yaml")["label"]["en_US"]) < 200
    assert document(made(served(title=" ")), "models/llm/small.yaml")["label"]["en_US"] == "small"


def test_features_stand_in_facts_and_document() -> None:
    template = CHATML.replace("m.content", "m.content.split('</think>')[-1]")
    emitted = emit(ACME, served(chat_template=template), Path)
    assert emitted.facts["models"][0]["features"] == ["agent-thought", "structured-output"]
    assert document(package_of(emitted), "models/llm/small.yaml")["features"] == ["agent-thought", "structured-output"]
