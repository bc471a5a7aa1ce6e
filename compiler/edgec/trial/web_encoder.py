"""A sentence encoder's page against native onnxruntime on the same file, with the same texts.

Rule: tokens must be the source's own, on texts that tokenizers are known to disagree on; then vectors are compared.
"""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgec.prove.corpus import corpus
from edgec.prove.model import Check
from edgec.toolchain.environments import run_json
from edgec.trial.verdicts import at_least, none_of
from edgec.trial.web_browser import Embedding, Task, Visit
from edgec.trial.web_page import Case, measured

_TOOLCHAIN = "optimum"
_SCRIPT = Path(__file__).parent / "inside" / "native_onnx.py"
_TIMEOUT_S = 900
_FIXED_MIB = 200
_TOKENIZER = "tokenizer.json"
_TEXTS = 16
# In other scripts, and longer than any context.
_OTHERS = (
    "Die Größe der Übergröße – naïve façade, İstanbul, ΟΔΥΣΣΕΥΣ!",
    "你好，世界！我想在apple工作。𠮷野家",
    "word " * 600,
)
# Smallest cosine with native onnxruntime, by scheme. Measured, with room: see docs/browser.md.
_LEAST = {"fp32": 0.99999}
_LEAST_OF_INTEGERS = 0.995


def encoder_task(case: Case) -> Task:
    """Texts to embed, and texts to tokenize, the tokenizer's own special tokens in some."""
    added = json.loads((case.bundle / _TOKENIZER).read_bytes()).get("added_tokens", [])
    pieces = corpus([token["content"] for token in added])
    text = importlib.resources.files("edgec.prove").joinpath("held_out.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Task(texts=(*lines[:_TEXTS], *_OTHERS), corpus=tuple(piece.text for piece in pieces))


def encoder_checks(how: str, visited: Visit, case: Case) -> list[Check]:
    """What the browser computed and how fast; nothing where the page did not get so far."""
    task = encoder_task(case)
    if len(visited.embeddings) != len(task.texts):
        return []
    native = _native(case, task, visited.threads)
    asked = (*task.corpus, *task.texts)
    had = (*visited.tokenized, *(embedding.ids for embedding in visited.embeddings))
    others = [repr(text[:60]) for text, own, ids in zip(asked, native["ids"], had, strict=True) if tuple(own) != ids]
    hint = f"{case.settings['runtime']} differs from what the source has; report it"
    cosines = _cosines(visited.embeddings, native["vectors"])
    least = _LEAST.get(str(case.settings["scheme"]), _LEAST_OF_INTEGERS)
    detail = f"{len(cosines)} texts, against {native['runtime']}; on average {sum(cosines) / len(cosines):.6f}"
    return [
        none_of(f"texts of other tokens than the source's{how}", others, len(asked), "texts", hint=hint),
        at_least(f"smallest cosine with native vectors{how}", min(cosines), least, "", detail=detail, hint=hint),
        *measured(how, visited, "sentences/s", float(native["per_s"])),
    ]


def _native(case: Case, task: Task, threads: int) -> Mapping[str, Any]:
    request = {
        "model": str(case.model.resolve()), "tokenizer": str((case.bundle / _TOKENIZER).resolve()), "threads": threads,
        "corpus": list(task.corpus), "texts": list(task.texts), "context": int(case.settings["context"]),
        "pooling": case.settings["pooling"],
    }  # fmt: skip
    return run_json(
        case.environment_of(_TOOLCHAIN), _SCRIPT, request, timeout_s=_TIMEOUT_S, log=case.logs / "web-native.log",
        memory_mib=_FIXED_MIB + int(case.settings["needed_mib"]), report=case.report,
    )  # fmt: skip


def _cosines(embeddings: Sequence[Embedding], vectors: Sequence[Sequence[float]]) -> list[float]:
    """Both sides are of length 1; NaN is no cosine, and counts as none at all."""
    found = []
    for embedding, own in zip(embeddings, vectors, strict=True):
        cosine = sum(a * b for a, b in zip(embedding.vector, own, strict=True))
        found.append(cosine if math.isfinite(cosine) else -1.0)
    return found
