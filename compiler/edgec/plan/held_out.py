"""Whether the held-out text is long enough for the proof of every artifact, before anything is built.

Rule: it counts as the proof does, or below it, so that no text is refused which the proof would take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tokenizers import Tokenizer

from edgec.errors import Diagnostic, InputError
from edgec.plan.artifact import PlannedArtifact
from edgec.plan.encoder import EncoderPlan
from edgec.prove.encoder import choose_texts
from edgec.prove.held_out import built_in_text
from edgec.recipe.load import LoadedRecipe
from edgec.source.text import read_text

_AT = ("prove", "held_out")
# Of a text with more bytes for each token of a window, nobody need count the tokens.
_MANY_BYTES = 16
# A token is at least a byte of the text, but for those that stand at its ends.
_ENDS = 3


def require_held_out(loaded: LoadedRecipe, artifacts: Iterable[PlannedArtifact], files: Mapping[str, bytes]) -> None:
    """Raises InputError, at the recipe's line, for a text that is too short. `files`: the source's small ones."""
    text: str | None = None
    for artifact in artifacts:
        if artifact.facts.kind not in ("encoder", "reranker", "decoder"):
            continue
        text = _text(loaded) if text is None else text
        if artifact.facts.kind == "decoder":
            _require_window(loaded, artifact, text, files)
        else:
            _require_lines(loaded, artifact, text)


def _text(loaded: LoadedRecipe) -> str:
    named = loaded.recipe.prove.held_out
    return built_in_text() if named is None else read_text(loaded.resolve(named), "held-out text")


def _require_lines(loaded: LoadedRecipe, artifact: PlannedArtifact, text: str) -> None:
    calibrated = frozenset(artifact.calibration_lines if isinstance(artifact, EncoderPlan) else ())
    left = [line for line in text.splitlines() if line.strip() not in calibrated]
    try:
        choose_texts("\n".join(left))
    except InputError as error:
        dropped = len(text.splitlines()) - len(left)
        note = f"; {dropped} lines are left out, since the model is calibrated on them" if dropped else ""
        span = loaded.span(*_AT) or loaded.span("prove") or loaded.span("artifacts")
        raise InputError(
            *(replace(d, message=d.message + note, place=None, span=span) for d in error.diagnostics)
        ) from error


def _require_window(loaded: LoadedRecipe, artifact: PlannedArtifact, text: str, files: Mapping[str, bytes]) -> None:
    context = artifact.summary.context or artifact.facts.trained_context
    size = min(loaded.recipe.prove.window_tokens, artifact.facts.trained_context, context)
    size_bytes = len(text.encode())
    if size_bytes > size * _MANY_BYTES:
        return
    tokens = _count(text, files)
    found = size_bytes + _ENDS if tokens is None else tokens
    if found >= size:
        return
    how = "at most " if tokens is None else ""
    raise InputError(
        Diagnostic(
            f"the held-out text has {how}{found} tokens; one window of the proof needs {size}",
            "give a longer prove.held_out, or a smaller prove.window_tokens",
            loaded.span(*_AT) or loaded.span("prove") or loaded.span("artifacts"),
        )
    )


def _count(text: str, files: Mapping[str, bytes]) -> int | None:
    """The text's tokens; None where nothing here can tell them."""
    try:
        return len(Tokenizer.from_buffer(files["tokenizer.json"]).encode(text).ids)
    except (KeyError, ValueError):
        return None
