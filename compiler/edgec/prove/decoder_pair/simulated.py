"""The proof of a decoder that only a simulator could run: its logits, made while it was compiled, against torch's.

Rule: the source runs in torch with transformers' own modules, in an environment that the simulator's maker has no part
in; what only a device can show is said to be not verified.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import InputError
from edgec.events import Reporter
from edgec.prove.checks import divergence_checks
from edgec.prove.decoder_pair.comparison import divergence_of, raise_refusal
from edgec.prove.decoder_pair.needs import pair_memory_mib, pair_timeout_s
from edgec.prove.decoder_pair.texts import PairTokenizer
from edgec.prove.held_out import HeldOut, built_in_text
from edgec.prove.model import NotVerified, Proof
from edgec.prove.thresholds import demanded
from edgec.quantize.architecture import read_decoder
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

_LOG = "rkllm-proof.log"


@dataclass(frozen=True)
class SimulatedDecoder:
    """An artifact by its source. `held_out_text` None: a short built-in text; `logs`: a folder."""

    name: str
    source: Checkpoint
    scheme: str
    settings: Prove
    held_out_text: str | None
    has_template: bool
    logs: Path


def simulated_windows(subject: SimulatedDecoder, report: Reporter) -> HeldOut:
    """What is simulated, and compared afterwards. Raises InputError for a text too short, or tokens without a row."""
    header = subject.source.header
    decoder = read_decoder(header.config)
    tokenizer = PairTokenizer(header.files)
    if tokenizer.largest_id >= decoder.vocabulary:
        raise InputError.of(
            f"the tokenizer gives ids up to {tokenizer.largest_id}, and the model has {decoder.vocabulary} rows",
            hint="tokenizer.json and config.json do not belong together: download the checkpoint again",
        )
    text = built_in_text() if subject.held_out_text is None else subject.held_out_text
    return tokenizer.windows(text, subject.settings, report, n_ctx=decoder.context, n_vocab=decoder.vocabulary)


def prove_simulated_decoder(
    subject: SimulatedDecoder, logits: Path, toolkit: str, environment: Environment, report: Reporter
) -> Proof:
    """The proof of the logits in the file `logits`. `toolkit`: the version of what gave them.

    `environment`: of the toolchain `transformers`. A miss is a failed check. Raises InputError for a source that cannot
    be compared, ProofError for logits of another shape, ToolError for a comparison that died or hung.
    """
    decoder = read_decoder(subject.source.header.config)
    held_out = simulated_windows(subject, report)
    log = subject.logs / _LOG
    request = {
        "source": str(subject.source.root.resolve()),
        "logits": str(logits.resolve()),
        "windows": [list(window) for window in held_out.windows],
        "scored_from": held_out.scored_from,
        "threads": usable_cores(),
    }
    with importlib.resources.as_file(importlib.resources.files("edgec.prove.decoder_pair") / "inside") as inside:
        answer = run_json(
            environment,
            inside / "compare_logits.py",
            request,
            timeout_s=pair_timeout_s(decoder, subject.settings, 0),
            log=log,
            memory_mib=pair_memory_mib(decoder, subject.settings),
            report=report,
        )
    raise_refusal(answer, subject.source.root, logits, log)
    return Proof(
        artifact=subject.name,
        runtime=f"RKLLM {toolkit}, its simulation of the RK3588",
        in_place_of="RKLLM on the NPU",
        checks=divergence_checks(
            divergence_of(answer["divergence"]), held_out, demanded(subject.scheme, subject.settings)
        ),
        not_verified=_limits(subject, held_out.size),
    )


def _limits(subject: SimulatedDecoder, window: int) -> tuple[NotVerified, ...]:
    entries = [
        NotVerified(
            what="the model on the NPU",
            why="not verified on hardware: only the toolkit's simulation ran it, in the process that compiled it",
        ),
        NotVerified(
            what="the .rkllm file as written",
            why="the toolkit simulates what it has built and not a file; the file was written by the same process, and "
            "only its size was looked at",
        ),
        NotVerified(
            what="the toolkit's simulation",
            why="it is closed: how near it comes to the NPU is its maker's word",
        ),
        NotVerified(what="speed on the device", why="it was not run there; the plan's range is a prediction"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(what=f"texts of more than {window} tokens", why="the proof's texts are no longer"),
    ]
    if subject.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    why = "the toolkit copies it into the file, which was not read" if subject.has_template else "the model has none"
    return (*entries, NotVerified(what="chat template", why=why))
