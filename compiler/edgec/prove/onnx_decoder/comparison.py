"""Runs the comparison of an ONNX decoder in the toolchain `genai`, and gives its answer types."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.prove.decoder_pair.comparison import divergence_of, raise_refusal
from edgec.prove.decoder_pair.needs import pair_memory_mib, pair_timeout_s
from edgec.prove.decoder_pair.texts import PromptText
from edgec.prove.divergence import Divergence
from edgec.prove.held_out import HeldOut
from edgec.quantize.architecture import Decoder
from edgec.recipe.model import Prove
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAIN = "genai"
# Of each prompt that the artifact continues.
NEW_TOKENS = 16
_LOG = "compare-in-onnxruntime.log"
# As for the comparison in torch, which this one runs too; and threads that wait do not spin.
_ENV = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "OMP_WAIT_POLICY": "PASSIVE"}
# onnxruntime holds weights as they are stored and as its kernels want them.
_COPIES = 2


@dataclass(frozen=True)
class GenaiRun:
    """What onnxruntime-genai made of the folder. `margins`, `token_ids`, `texts`: see `inside/genai_answers.py`."""

    margins: tuple[float, ...]
    token_ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class OnnxComparison:
    """What the script found. `windows`, `decoded`: of the artifact from the source; `at_once`: of the artifact with its
    KV cache from itself without; `answers`: token ids of each prompt; `genai`: None for a graph it does not run.
    """

    windows: Divergence
    decoded: Divergence
    at_once: Divergence
    answers: tuple[tuple[int, ...], ...]
    genai: GenaiRun | None
    versions: Mapping[str, str]
    peak_mib: int


def proof_memory_mib(decoder: Decoder, weights_bytes: int, settings: Prove | None = None) -> int:
    """Upper bound of the comparison's peak memory, in MiB."""
    settings = settings or Prove()
    # A window's logits as onnxruntime gives them, and copied.
    logits = 2 * 4 * settings.window_tokens * decoder.vocabulary
    return pair_memory_mib(decoder, settings) + ((_COPIES * weights_bytes + logits) >> 20)


def compare_onnx(
    source: Path,
    model: Path,
    held_out: HeldOut,
    prompts: Sequence[PromptText],
    texts: Sequence[str],
    *,
    decoder: Decoder,
    weights_bytes: int,
    in_genai: bool,
    end_ids: Sequence[int],
    new_tokens: int,
    settings: Prove,
    environment: Environment,
    logs: Path,
    report: Reporter,
) -> OnnxComparison:
    """Runs both on the windows and the artifact on the prompts. `texts`: tokenized by onnxruntime-genai besides.

    Raises InputError or ProofError for a side that is not whole, ToolError for a run that died or hung.
    """
    log = logs / _LOG
    request = {
        "source": str(source.resolve()),
        "model": str(model.resolve()),
        "runtime": str(model.parent.resolve()) if in_genai else None,
        "windows": [list(window) for window in held_out.windows],
        "scored_from": held_out.scored_from,
        "prompts": [list(prompt.token_ids) for prompt in prompts],
        "texts": [*(prompt.text for prompt in prompts), *texts],
        "new_tokens": new_tokens,
        "end_ids": list(end_ids),
        "head_width": decoder.head_dim,
        "threads": usable_cores(),
    }
    with importlib.resources.as_file(importlib.resources.files("edgec.prove")) as folder:
        answer = run_json(
            environment,
            folder / "onnx_decoder" / "inside" / "compare_onnx.py",
            request,
            timeout_s=2 * pair_timeout_s(decoder, settings, len(prompts)),
            log=log,
            memory_mib=proof_memory_mib(decoder, weights_bytes, settings),
            env=_ENV,
            report=report,
        )
    raise_refusal(answer, source, model, log)
    try:
        return _comparison(answer, log)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ToolError.of(
            f"the comparison in onnxruntime gave an answer of another form: {error!r}",
            hint=f"the whole output is in {log}",
        ) from error


def _comparison(answer: Mapping[str, Any], log: Path) -> OnnxComparison:
    return OnnxComparison(
        windows=divergence_of(answer["divergence"]),
        decoded=divergence_of(answer["decoded"]),
        at_once=divergence_of(answer["at_once"]),
        answers=tuple(tuple(map(int, ids)) for ids in answer["answers"]),
        genai=_genai(answer["runtime"], log),
        versions={str(name): str(version) for name, version in answer["versions"].items()},
        peak_mib=int(answer["peak_mib"]),
    )


def _genai(found: Mapping[str, Any] | None, log: Path) -> GenaiRun | None:
    if found is None:
        return None
    if "failed" in found:
        raise ToolError.of(
            f"onnxruntime-genai does not run the folder: {found['failed']}", hint=f"the whole output is in {log}"
        )
    return GenaiRun(
        margins=tuple(map(float, found["margins"])),
        token_ids=tuple(tuple(map(int, ids)) for ids in found["token_ids"]),
        texts=tuple(map(str, found["decoded_texts"])),
        version=str(found["version"]),
    )
