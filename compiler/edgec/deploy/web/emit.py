"""The web emitter's verbs: what this model cannot have, and the site's files.

Rule: pure; the same settings and model always make the same bytes. Every address in the site is relative: it asks
nobody but the server it came from, and the weights are those of the bundle, not a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from edgec.deploy.model import Emitted, Mistake, ServedModel
from edgec.deploy.web.apps import APPS
from edgec.deploy.web.headers import ISOLATION, MEDIA_TYPES
from edgec.deploy.web.runtime import WebRuntime, locked_runtimes
from edgec.prove.model import NotVerified
from edgec.recipe.package import WebPackage

FOLDER = "site"
PAGE = f"{FOLDER}/index.html"
SETTINGS = f"{FOLDER}/model.json"
BROWSERS = ("wasm32",)
_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = ("browser.js", "page.js", "style.css")
_NOT_TRIED = NotVerified(
    what="the site in a browser",
    why="the build starts no browser; `edgec verify --run web` does, in the Chromium of the machine it runs on",
)
_ENVIRONMENT = Environment(
    loader=PackageLoader("edgec.deploy.web", "templates"),
    autoescape=select_autoescape(["html.j2"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def can_have(model: ServedModel) -> bool:
    """Whether a site is made for this model when nobody says: one of a kind and format that a page runs."""
    app = APPS.get(model.format)
    if model.device.arch not in BROWSERS or app is None or model.kind != app.kind:
        return False
    return model.kind == "decoder" or model.bert_tokenizer


def refuse(settings: WebPackage, model: ServedModel) -> Iterator[Mistake]:
    """What a recipe asks for in so many words and this model cannot have."""
    at = ("package", "web")
    app = APPS.get(model.format)
    if model.device.arch not in BROWSERS:
        yield Mistake(at, f"{model.device.title} is no browser", "remove `web`, or set `target: wasm-browser`")
    elif app is None:
        message = f"nothing in a browser reads `{model.format}`"
        yield Mistake(at, message, f"put an artifact with `format: {' or '.join(APPS)}` first")
    elif model.kind != app.kind:
        message = f"a site with `{model.format}` is for a {app.kind}, and {model.architecture} is of another kind"
        hint = "set `web: null`; the bundle then holds the model alone. Sentence encoders have a site as `format: onnx`"
        yield Mistake(at, f"{message} ({model.kind})", hint)
    elif model.kind == "encoder":
        yield from _refuse_encoder(settings, model)
    elif settings.max_tokens >= model.context:
        message = f"{settings.max_tokens} new tokens leave no room for a prompt in a context of {model.context}"
        yield Mistake((*at, "max_tokens"), message, f"set `max_tokens: {max(1, model.context // 2)}`, or less")


def _refuse_encoder(settings: WebPackage, model: ServedModel) -> Iterator[Mistake]:
    at = ("package", "web")
    if not model.bert_tokenizer:
        message = f"the page tokenizes as BERT does (WordPiece), and the tokenizer.json of {model.title} does not"
        yield Mistake(at, message, "set `web: null`; the bundle then holds the ONNX file and the tokenizer alone")
    if "max_tokens" in settings.model_fields_set:
        yield Mistake((*at, "max_tokens"), "an encoder writes no tokens", "remove `max_tokens`")


def emit(settings: WebPackage, model: ServedModel, *, weights_bytes: int) -> Emitted:
    """The site without its runtimes, which their folders get when the bundle is written.

    `weights_bytes`: the size of the model's files together; where it is only planned, see `seal`.
    """
    app, runtimes = APPS[model.format], locked_runtimes(model.format)
    title = settings.title or model.name
    values = {
        "title": title, "model": model, "port": settings.port, "isolation": ISOLATION, "types": MEDIA_TYPES,
        "carried": list(app.carried), "scripts": app.script_sources, "workers": app.worker_sources,
    }  # fmt: skip
    told = {**values, "scripts": app.scripts, "runtimes": runtimes, "engine": app.engine, "needs": app.needs}
    files = {
        PAGE: _render("index.html.j2", **values),
        SETTINGS: _settings(settings, model, title, weights_bytes),
        f"{FOLDER}/nginx.conf": _render("nginx.conf.j2", **values),
        f"{FOLDER}/Caddyfile": _render("Caddyfile.j2", **values),
        f"{FOLDER}/README.md": _render("README.md.j2", **told),
        **{f"{FOLDER}/{name}": (_TEMPLATES / name).read_bytes() for name in _SHARED},
        **{f"{FOLDER}/{name}": (_TEMPLATES / model.format / name).read_bytes() for name in app.files},
    }
    facts = {
        "page": PAGE,
        "runtime": [_facts(runtime) for runtime in runtimes],
        "model": list(model.files),
        "headers": dict(ISOLATION),
    }
    about = f"web site {PAGE}: {title}, on {runtimes[0].package.rpartition('/')[2]} {runtimes[0].version}"
    return Emitted(about, dict(sorted(files.items())), facts, (_NOT_TRIED,))


def seal(made: Emitted, weights_bytes: int) -> Emitted:
    """The site with the size that the model's files have, which is known when they are made."""
    settings = {**json.loads(made.files[SETTINGS]), "size_bytes": weights_bytes}
    return replace(made, files={**made.files, SETTINGS: _json(settings)})


def _facts(runtime: WebRuntime) -> dict[str, str]:
    found = {"npm": runtime.spec, "integrity": runtime.integrity}
    return found if runtime.llama_cpp is None else {**found, "llama_cpp": runtime.llama_cpp}


def max_tokens(settings: WebPackage, context: int) -> int:
    """New tokens of an answer: a setting nobody wrote gives way to a small context."""
    return settings.max_tokens if "max_tokens" in settings.model_fields_set else min(settings.max_tokens, context // 2)


def _settings(settings: WebPackage, model: ServedModel, title: str, weights_bytes: int) -> bytes:
    document = {
        "title": title,
        "format": model.format,
        "files": [str(PurePosixPath("..") / path) for path in model.files],
        "size_bytes": weights_bytes,
        "scheme": model.scheme,
        # Kept copies of other weights have another address.
        "weights": model.weights.removeprefix("sha256:")[:16],
        "context": model.context,
        "threads": settings.threads or model.device.threads,
        **_own_settings(settings, model),
        "needed_mib": round(model.device.needed_mib),
        "runtime": ", ".join(runtime.spec for runtime in locked_runtimes(model.format)),
    }
    return _json(document)


def _own_settings(settings: WebPackage, model: ServedModel) -> dict[str, Any]:
    """What pages of this kind of model read."""
    if model.kind == "decoder":
        return {"max_tokens": max_tokens(settings, model.context), "chat": model.chat_template is not None}
    return {"tokenizer": "../tokenizer.json", "pooling": model.pooling, "width": model.embedding_length}


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _render(template: str, **values: object) -> bytes:
    return _ENVIRONMENT.get_template(template).render(**values).encode()
