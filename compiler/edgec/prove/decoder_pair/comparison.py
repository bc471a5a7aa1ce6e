"""Runs the comparison in the toolchain `transformers`, and gives its answer types.

Rule: what the script refuses names the checkpoint and the tensor; a source that is refused is the input's fault, a
decoded artifact that is refused has failed its proof.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import InputError, ProofError, ToolError
from edgec.events import Reporter
from edgec.prove.decoder_pair.needs import count_new_tokens, pair_memory_mib, pair_timeout_s
from edgec.prove.decoder_pair.texts import PromptText
from edgec.prove.divergence import Divergence
from edgec.prove.held_out import HeldOut
from edgec.quantize.architecture import Decoder
from edgec.recipe.model import Prove
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

# Most likely tokens written down for each position.
TOP_TOKENS = 16
_LOG = "compare-in-torch.log"
# glibc raises the size from which it gives freed memory back to the system, up to 32 MiB, with what a program frees: a
# decoder of 1.2 billion parameters then kept 1 GiB of weights of the layers before. A size that is set stays.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}

# Of one prompt: for each generated token (token id, log probability), the most likely first.
Continuation = tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True)
class Comparison:
    """What the script found. `continuations`: one for each prompt; none when logits were not finite."""

    divergence: Divergence
    window_kl: tuple[float, ...]
    continuations: tuple[Continuation, ...]
    framework: str
    peak_mib: int


def compare_pair(
    source: Path,
    candidate: Path,
    held_out: HeldOut,
    prompts: Sequence[PromptText],
    *,
    decoder: Decoder,
    settings: Prove,
    environment: Environment,
    logs: Path,
    report: Reporter,
) -> Comparison:
    """Runs both checkpoints on the windows and the candidate on the prompts.

    Raises InputError or ProofError for a checkpoint that is not whole, ToolError for a run that died or hung.
    """
    log = logs / _LOG
    request = {
        "source": str(source.resolve()),
        "candidate": str(candidate.resolve()),
        "windows": [list(window) for window in held_out.windows],
        "scored_from": held_out.scored_from,
        "prompts": [list(prompt.token_ids) for prompt in prompts],
        "new_tokens": count_new_tokens(decoder)[0],
        "top": min(TOP_TOKENS, decoder.vocabulary),
        "threads": usable_cores(),
    }
    with importlib.resources.as_file(importlib.resources.files("edgec.prove.decoder_pair") / "inside") as inside:
        answer = run_json(
            environment,
            inside / "compare.py",
            request,
            timeout_s=pair_timeout_s(decoder, settings, len(prompts)),
            log=log,
            memory_mib=pair_memory_mib(decoder, settings),
            env=_MALLOC,
            report=report,
        )
    raise_refusal(answer, source, candidate, log)
    try:
        return _comparison(answer, len(prompts))
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError.of(
            f"the comparison in torch gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
        ) from error


def raise_refusal(answer: Mapping[str, Any], source: Path, candidate: Path, log: Path) -> None:
    """Raises InputError or ProofError for a side that the script refused."""
    refused = answer.get("refused")
    if refused is None:
        return
    if refused["which"] == "source":
        hint = f"download the checkpoint again, or choose one of plain weights; the log is {log}"
        raise InputError.of(refused["message"], place=str(source), hint=hint)
    hint = f"build again without the cache (edgec clean); if it happens again, report it with the log {log}"
    raise ProofError.of(f"the decoded artifact cannot be proven: {refused['message']}", place=str(candidate), hint=hint)


def divergence_of(found: Mapping[str, Any]) -> Divergence:
    """What `divergence_sums` gave. Raises KeyError, TypeError or ValueError for what is no such thing."""
    divergence = Divergence(
        tokens=int(found["tokens"]),
        broken=int(found["broken"]),
        mean_kl=_number(found["mean_kl"]),
        top1=_number(found["top1"]),
        perplexity=_perplexity(found["loss"]),
        reference_perplexity=_perplexity(found["reference_loss"]),
    )
    if divergence.tokens + divergence.broken == 0:
        raise ValueError("no token was compared")
    return divergence


def _comparison(answer: Mapping[str, Any], prompts: int) -> Comparison:
    found = answer["divergence"]
    divergence = divergence_of(found)
    continuations = tuple(
        tuple(tuple((int(i), float(value)) for i, value in position) for position in continuation)
        for continuation in answer["answers"]
    )
    if divergence.broken == 0 and len(continuations) != prompts:
        raise ValueError(f"{len(continuations)} answers to {prompts} prompts")
    versions = answer["versions"]
    return Comparison(
        divergence=divergence,
        window_kl=tuple(_number(window["mean_kl"]) for window in found["windows"]),
        continuations=continuations,
        framework=f"torch {versions['torch']}, transformers {versions['transformers']}",
        peak_mib=int(answer["peak_mib"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _perplexity(loss: float | None) -> float:
    # Beyond it a float64 has no exponential; such a model is broken anyway.
    return math.nan if loss is None else math.exp(min(loss, 700.0))
