"""The Dify emitter's verbs: what a recipe may ask for, what this model cannot have, the package, its signature.

Rule: pure; the same settings, model, wheels and key always make the same bytes.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgec.deploy.dify.check import MAX_TEXT, mistakes
from edgec.deploy.dify.icon import IconError, drawn_icon, read_icon
from edgec.deploy.dify.identity import Identity, plugin_name
from edgec.deploy.dify.keys import DifySigningKey
from edgec.deploy.dify.manifest import MANIFEST_PATH, PROVIDER_PATH, Wording, manifest, provider
from edgec.deploy.dify.models import PredefinedModel, predefined_models
from edgec.deploy.dify.package import MAX_BYTES, PluginPackage, read_package, write_package
from edgec.deploy.dify.signature import FIXED_UNIX_S, sign_package, unique_id
from edgec.deploy.dify.texts import texts, with_development_notice
from edgec.deploy.dify.wheels import requirements, wheel_bytes
from edgec.deploy.dify.yaml import to_yaml
from edgec.deploy.model import Emitted, Mistake, ServedModel
from edgec.errors import InputError
from edgec.prove.model import NotVerified
from edgec.recipe.model import Recipe
from edgec.recipe.package import DifyPackage, LocalText

_FOLDER = "dify"
_CREATED = datetime.datetime.fromtimestamp(FIXED_UNIX_S, datetime.UTC)
_SOURCES = Path(__file__).parent / "plugin"
_NO_SERVERS = ("wasm32",)
# A model's own name, which may be anything, as one line.
_MAX_TITLE = 128
_NOT_TRIED = NotVerified(
    what="the plugin in a running Dify",
    why="no Dify was at hand; the package's format, its signature and its documents follow Dify's own code",
)


def check(settings: DifyPackage, recipe: Recipe, resolve: Callable[[str], Path]) -> Iterator[Mistake]:
    """Mistakes that the recipe and the files it names show, for `edgec check`."""
    return mistakes(settings, recipe, resolve)


def refuse(settings: DifyPackage, model: ServedModel, resolve: Callable[[str], Path]) -> Iterator[Mistake]:
    """What the settings ask for that this model cannot do."""
    if model.device.arch in _NO_SERVERS:
        message = f"{model.device.title} serves nothing that Dify could ask"
        yield Mistake(("package", "dify"), message, "remove `dify`, or choose another target")
    if settings.with_wheels:
        size_bytes = sum(len(content) for content in _files(settings, model, resolve).values()) + wheel_bytes()
        if size_bytes > MAX_BYTES:
            message = f"with its wheels the package holds {size_bytes} bytes, Dify takes {MAX_BYTES} at most"
            yield Mistake(("package", "dify", "with_wheels"), message, "set `with_wheels: false`, or a smaller icon")


def emit(settings: DifyPackage, model: ServedModel, resolve: Callable[[str], Path]) -> Emitted:
    """The package, not signed yet and without wheels, as `dify/<author>-<name>-<version>.difypkg`."""
    model = _titled(model)
    identity = _identity(settings, model)
    path = f"{_FOLDER}/{identity.file_name}"
    facts: dict[str, Any] = {
        "path": path,
        "author": identity.author,
        "name": identity.name,
        "version": identity.version,
        "with_wheels": settings.with_wheels,
        "models": [
            {"id": m.id, "type": m.type, "context": model.context, "features": list(m.features)}
            for m in predefined_models(model)
        ],
    }
    package = PluginPackage.of(_files(settings, model, resolve))
    title = f"Dify plugin {path}: {', '.join(m['id'] for m in facts['models'])}"
    return Emitted(title, {path: write_package(package)}, facts, (_NOT_TRIED,))


def seal(
    emitted: Emitted, key: DifySigningKey, *, is_development: bool, wheels: Mapping[str, bytes] | None = None
) -> Emitted:
    """What `emit` made, with the wheels by their file names and signed; its facts say by whom, its README if by nobody.

    The public key that operators need stands beside it: whoever trusts the bundle's signature can trust this key.
    """
    ((path, data),) = emitted.files.items()
    public = f"{_FOLDER}/{emitted.facts['author']}.public.pem"
    added = {f"wheels/{name}": content for name, content in (wheels or {}).items()}
    files = {**dict(read_package(data, place=path).files), **added}
    if is_development:
        files = with_development_notice(files)
    package = sign_package(PluginPackage.of(files), key)
    facts = {
        **emitted.facts,
        "unique_id": unique_id(package, place=path),
        "key": key.public.fingerprint,
        "public_key": key.public.pem.decode(),
        "public_key_path": public,
        "development_key": is_development,
    }
    return Emitted(emitted.title, {path: write_package(package), public: key.public.pem}, facts, emitted.not_verified)


def _titled(model: ServedModel) -> ServedModel:
    return replace(model, title=" ".join(model.title.split())[:_MAX_TITLE] or model.name)


def _identity(settings: DifyPackage, model: ServedModel) -> Identity:
    return Identity(settings.author, settings.name or plugin_name(model.name), settings.version or model.version)


def _wording(settings: DifyPackage, model: ServedModel) -> Wording:
    about = f"{model.title} ({model.scheme}) on {model.device.title}, served by llama.cpp"
    ours = LocalText(
        en_US=(model.description or about)[:MAX_TEXT],
        zh_Hans=None
        if model.description
        else f"{model.title}（{model.scheme}），由 {model.device.title} 上的 llama.cpp 提供服务",
    )
    label = settings.label or LocalText(en_US=model.name, zh_Hans=None)
    return Wording(_local(label), _local(settings.description or ours))


def _local(text: LocalText) -> dict[str, str]:
    return {"en_US": text.en_US, "zh_Hans": text.zh_Hans or text.en_US}


def _files(settings: DifyPackage, model: ServedModel, resolve: Callable[[str], Path]) -> dict[str, bytes]:
    identity = _identity(settings, model)
    wording = _wording(settings, model)
    models = predefined_models(model)
    icon, image = _icon(settings, identity, resolve)
    return {
        MANIFEST_PATH: to_yaml(manifest(identity, wording, icon, _CREATED)),
        PROVIDER_PATH: to_yaml(provider(identity, wording, icon, models)),
        **_model_files(models),
        f"_assets/{icon}": image,
        "requirements.txt": requirements(offline=settings.with_wheels),
        **texts(identity, wording, model, models, with_wheels=settings.with_wheels),
        **_sources({m.key for m in models}),
    }


def _icon(settings: DifyPackage, identity: Identity, resolve: Callable[[str], Path]) -> tuple[str, bytes]:
    if settings.icon is None:
        return "icon.svg", drawn_icon(identity.name)
    path = resolve(settings.icon)
    try:
        suffix, image = read_icon(path)
    except IconError as error:
        # It was checked with the recipe, and is another one by now.
        raise InputError.of(str(error), hint=error.hint, place=str(path)) from error
    return f"icon.{suffix}", image


def _model_files(models: tuple[PredefinedModel, ...]) -> dict[str, bytes]:
    files = {m.path: to_yaml(m.document) for m in models}
    for key in {m.key for m in models}:
        files[f"models/{key}/_position.yaml"] = to_yaml([m.id for m in models if m.key == key])
    return files


def _sources(keys: set[str]) -> dict[str, bytes]:
    """The plugin's Python files as they are, of the models' folders only those that are needed."""
    found = {}
    for source in sorted(_SOURCES.rglob("*.py")):
        path = source.relative_to(_SOURCES)
        if path.parts[0] != "models" or path.parts[1] in keys:
            found[path.as_posix()] = source.read_bytes()
    return found
