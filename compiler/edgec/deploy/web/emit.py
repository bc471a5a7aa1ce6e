"""The web emitter's verbs: what this model cannot have, and the site's files.

Rule: pure; the same settings and model always make the same bytes. Every address in the site is relative: it asks
nobody but the server it came from, and the weights are those of the bundle, not a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from edgec.deploy.model import Emitted, Mistake, ServedModel
from edgec.deploy.web.headers import ISOLATION, MEDIA_TYPES
from edgec.deploy.web.runtime import locked_runtime
from edgec.prove.model import NotVerified
from edgec.recipe.package import WebPackage

FOLDER = "site"
RUNTIME_FOLDER = f"{FOLDER}/wllama"
PAGE = f"{FOLDER}/index.html"
SETTINGS = f"{FOLDER}/model.json"
BROWSERS = ("wasm32",)
_TEMPLATES = Path(__file__).parent / "templates"
_AS_THEY_ARE = ("app.js", "engine.js", "style.css")
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
    """Whether a site is made for this model when nobody says: one that writes, as GGUF, for a browser."""
    return model.device.arch in BROWSERS and model.kind == "decoder" and model.format == "gguf"


def refuse(settings: WebPackage, model: ServedModel) -> Iterator[Mistake]:
    """What a recipe asks for in so many words and this model cannot have."""
    at = ("package", "web")
    if model.device.arch not in BROWSERS:
        yield Mistake(at, f"{model.device.title} is no browser", "remove `web`, or set `target: wasm-browser`")
    elif model.kind != "decoder":
        message = f"the site is for models that write text, and {model.architecture} is of another kind ({model.kind})"
        yield Mistake(at, message, "set `web: null`; the bundle then holds the GGUF alone")
    elif model.format != "gguf":
        yield Mistake(at, f"wllama does not read `{model.format}`", "put an artifact with `format: gguf` first")
    elif settings.max_tokens >= model.context:
        message = f"{settings.max_tokens} new tokens leave no room for a prompt in a context of {model.context}"
        yield Mistake((*at, "max_tokens"), message, f"set `max_tokens: {max(1, model.context // 2)}`, or less")


def emit(settings: WebPackage, model: ServedModel, *, weights_bytes: int) -> Emitted:
    """The site without its runtime, which `RUNTIME_FOLDER` gets when the bundle is written.

    `weights_bytes`: the size of the model's files together.
    """
    title = settings.title or model.name
    values = {"title": title, "model": model, "port": settings.port, "isolation": ISOLATION, "types": MEDIA_TYPES}
    files = {
        PAGE: _render("index.html.j2", **values),
        SETTINGS: _settings(settings, model, title, weights_bytes),
        f"{FOLDER}/nginx.conf": _render("nginx.conf.j2", **values),
        f"{FOLDER}/Caddyfile": _render("Caddyfile.j2", **values),
        f"{FOLDER}/README.md": _render("README.md.j2", **values, runtime=locked_runtime()),
        **{f"{FOLDER}/{name}": (_TEMPLATES / name).read_bytes() for name in _AS_THEY_ARE},
    }
    runtime = locked_runtime()
    facts = {
        "page": PAGE,
        "runtime": {"npm": runtime.spec, "integrity": runtime.integrity, "llama_cpp": runtime.llama_cpp},
        "model": list(model.files),
        "headers": dict(ISOLATION),
    }
    about = f"web site {PAGE}: {title}, on wllama {runtime.version}"
    return Emitted(about, dict(sorted(files.items())), facts, (_NOT_TRIED,))


def max_tokens(settings: WebPackage, context: int) -> int:
    """New tokens of an answer: a setting nobody wrote gives way to a small context."""
    return settings.max_tokens if "max_tokens" in settings.model_fields_set else min(settings.max_tokens, context // 2)


def _settings(settings: WebPackage, model: ServedModel, title: str, weights_bytes: int) -> bytes:
    document = {
        "title": title,
        "files": [str(PurePosixPath("..") / path) for path in model.files],
        "size_bytes": weights_bytes,
        "scheme": model.scheme,
        # Kept copies of other weights have another address.
        "weights": model.weights.removeprefix("sha256:")[:16],
        "context": model.context,
        "threads": settings.threads or model.device.threads,
        "max_tokens": max_tokens(settings, model.context),
        "chat": model.chat_template is not None,
        "needed_mib": round(model.device.needed_mib),
        "runtime": locked_runtime().spec,
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _render(template: str, **values: object) -> bytes:
    return _ENVIRONMENT.get_template(template).render(**values).encode()
