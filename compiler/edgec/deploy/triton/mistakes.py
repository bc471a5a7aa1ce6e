"""What the Triton emitter cannot work with: names, ports and numbers that the server or the device refuses.

Rule: each mistake says what to write instead, at the key of the recipe that holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgec.deploy.model import Mistake, ServedModel
from edgec.recipe.model import Recipe
from edgec.recipe.package import TritonPackage

_AT = ("package", "triton")
# A name is a folder, a part of every URL, and a part of the name of a shared memory region.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME_CHARS = 127
# llama.cpp makes no context for more sequences.
_MAX_SEQUENCES = 256


def check(settings: TritonPackage, recipe: Recipe) -> Iterator[Mistake]:
    """Mistakes that the recipe alone shows, for `edgec check`."""
    name = settings.model_name
    if name is not None and not (_NAME.fullmatch(name) and len(name) <= _NAME_CHARS):
        yield Mistake(
            (*_AT, "model_name"),
            "Triton cannot serve a model of this name: it is a folder and a part of every URL",
            f"use letters, digits, `_`, `.` and `-`, a letter or digit first, at most {_NAME_CHARS}; "
            f"or leave it out for `{recipe.name}`",
        )
    taken: dict[int, str] = {}
    for use, port in settings.ports.model_dump().items():
        if port in taken:
            message = f"`{use}` has the port of `{taken[port]}`, {port}"
            yield Mistake((*_AT, "ports", use), message, "give each its own port; Triton's are 8000, 8001 and 8002")
        taken.setdefault(port, use)
    if recipe.batch > _MAX_SEQUENCES and recipe.artifacts[0].format == "gguf":
        message = f"llama.cpp decodes at most {_MAX_SEQUENCES} sequences at once, not {recipe.batch}"
        yield Mistake(("batch",), message, f"set `batch: {_MAX_SEQUENCES}` or less; more requests wait in the queue")
    if recipe.context is not None:
        yield from _too_many_tokens(settings, recipe.context)


def refuse(settings: TritonPackage, model: ServedModel) -> Iterator[Mistake]:
    """What the settings ask for that this model on this device cannot do."""
    yield from _too_many_tokens(settings, model.context)
    if settings.max_tokens is not None and model.kind != "decoder":
        hint = "remove `max_tokens`"
        yield Mistake((*_AT, "max_tokens"), f"the model is no text generator ({model.architecture})", hint)
    if "max_batch_size" in settings.model_fields_set and model.kind == "decoder":
        yield Mistake(
            (*_AT, "max_batch_size"),
            "text generation takes one prompt per request; many requests are decoded together",
            "remove it; `batch` at the top of the recipe is how many sequences are decoded at once",
        )
    fit = model.device
    served = settings.served_versions
    if served > 1 and fit.needed_mib * served > fit.available_mib:
        most = max(1, int(fit.available_mib // fit.needed_mib))
        yield Mistake(
            (*_AT, "served_versions"),
            f"{served} versions of this model need {fit.needed_mib * served:.0f} MiB, {fit.title} has "
            f"{fit.available_mib:.0f} MiB for them",
            f"serve {most} at most" if most > 1 else "serve 1; a new version then takes over when it is loaded",
        )


def _too_many_tokens(settings: TritonPackage, context: int) -> Iterator[Mistake]:
    if settings.max_tokens is not None and settings.max_tokens >= context:
        yield Mistake(
            (*_AT, "max_tokens"),
            f"{settings.max_tokens} new tokens leave no room for a prompt in the context of {context}",
            f"choose less than {context}, for example {max(1, context // 2)}",
        )
