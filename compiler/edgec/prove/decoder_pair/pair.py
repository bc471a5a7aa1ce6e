"""Proves an artifact whose runtime cannot run here: its own bytes, decoded to a plain checkpoint, against the source.

Rule: both sides run in torch with transformers' own modules, so that neither edgec's arithmetic nor its reading of the
source stands behind the numbers; what only the device can show is said to be not verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.formats.gguf.vocabulary.files import read_files
from edgec.formats.gguf.vocabulary.template import chat_template
from edgec.prove.checks import divergence_checks, tensor_checks
from edgec.prove.decoder_pair.comparison import Comparison, compare_pair
from edgec.prove.decoder_pair.needs import PROMPT_TOKENS
from edgec.prove.decoder_pair.reference import device_reference, end_tokens, reference_bytes
from edgec.prove.decoder_pair.source_checks import template_check, tokenizer_check, vocabulary_check
from edgec.prove.decoder_pair.texts import PairTokenizer, PromptText
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Check, NotVerified, Proof, Sample, TensorError
from edgec.prove.thresholds import Thresholds, demanded
from edgec.quantize.architecture import read_decoder
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.store.atomic import write_file
from edgec.toolchain.environments import Environment


@dataclass(frozen=True)
class DecoderPair:
    """An artifact, decoded, and its source.

    `candidate`: the folder that the format's `decode_checkpoint` wrote; `runtime`: name and version of what will run
    the artifact; `artifact_files`: the tokenizer files that the artifact carries, by name; `held_out_text` None: a
    short built-in text; `template`: the recipe's own chat template, None for the source's; `logs`: a folder.
    """

    name: str
    source: Checkpoint
    candidate: Path
    runtime: str
    scheme: str
    settings: Prove
    held_out_text: str | None
    tensors: tuple[TensorError, ...]
    artifact_files: Mapping[str, bytes]
    logs: Path
    template: str | None = None

    @property
    def text(self) -> str:
        """The text to prove on."""
        return built_in_text() if self.held_out_text is None else self.held_out_text

    @property
    def limits(self) -> Thresholds:
        """What is demanded."""
        return demanded(self.scheme, self.settings)


def prove_decoder_pair(pair: DecoderPair, environment: Environment, reference: Path, report: Reporter) -> Proof:
    """The proof; writes the device's reference to the file `reference`, unless the logits are not finite.

    `environment`: of the toolchain `transformers`. A miss is a failed check. Raises InputError for a source that cannot
    be compared or a text too short, ProofError for a decoded artifact that is not whole, ToolError for a comparison
    that died, hung or has too little memory.
    """
    header = pair.source.header
    decoder = read_decoder(header.config)
    tokenizer = PairTokenizer(header.files)
    fits = vocabulary_check(tokenizer, decoder.vocabulary)
    template = chat_template(read_files(header.files, dict(header.config)), pair.template)[0]
    checks = [fits, *tokenizer_check(tokenizer, pair.artifact_files), *template_check(template, header.files)]
    if not fits.passed:
        return _proof(pair, "none", checks, (), _limits(pair, template, 0))
    held_out = tokenizer.windows(pair.text, pair.settings, report, n_ctx=decoder.context, n_vocab=decoder.vocabulary)
    renders = all(check.passed for check in checks)
    prompts = tokenizer.prompts(pair.text, template if renders else None, size=min(PROMPT_TOKENS, held_out.size))
    comparison = compare_pair(
        pair.source.root, pair.candidate, held_out, prompts,
        decoder=decoder, settings=pair.settings, environment=environment, logs=pair.logs,
        report=report,
    )  # fmt: skip
    if comparison.continuations:
        ends = end_tokens(header.config, header.files)
        document = device_reference(pair.name, comparison, prompts, tokenizer, decoder=decoder, end_token_ids=ends)
        write_file(reference, reference_bytes(document))
    checks += divergence_checks(comparison.divergence, held_out, pair.limits)
    runtime = f"{comparison.framework} (in place of {pair.runtime})"
    samples = _samples(comparison, prompts, tokenizer)
    return _proof(pair, runtime, checks, samples, _limits(pair, template, held_out.size))


def _proof(
    pair: DecoderPair,
    runtime: str,
    checks: Sequence[Check],
    samples: tuple[Sample, ...],
    not_verified: tuple[NotVerified, ...],
) -> Proof:
    return Proof(
        artifact=pair.name,
        runtime=runtime,
        in_place_of=pair.runtime,
        checks=(*checks, *tensor_checks(pair.tensors)),
        samples=samples,
        tensors=pair.tensors,
        not_verified=not_verified,
    )


def _samples(comparison: Comparison, prompts: Sequence[PromptText], tokenizer: PairTokenizer) -> tuple[Sample, ...]:
    """The beginnings of the artifact's answers."""
    found = []
    for prompt, continuation in zip(prompts, comparison.continuations, strict=False):
        text = tokenizer.answer_text([position[0][0] for position in continuation])
        if text is not None:
            found.append(Sample(prompt=prompt.chat or prompt.text, text=text))
    return tuple(found)


def _limits(pair: DecoderPair, template: str | None, window: int) -> tuple[NotVerified, ...]:
    """What no build shows of an artifact that only the device can run."""
    entries = [
        NotVerified(
            what="engine build: not verified on hardware",
            why=f"{pair.runtime} does not run here; what was proven are the artifact's bytes, decoded, in torch. "
            "`edgec device finalize` builds the engine on the device and compares it with the recorded answers",
        ),
        NotVerified(
            what="the runtime's own kernels",
            why="the proof computed in float32 in torch; the device's kernels round in float16 or int8 on their own",
        ),
        NotVerified(what="speed on the device", why="it was not run there; the plan's range is a prediction"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(what=f"texts of more than {window} tokens", why="the proof's texts are no longer"),
    ]
    if pair.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    if template is None:
        why = "the model has none; prompts were continued as plain text"
        entries.append(NotVerified(what="chat template", why=why))
    return tuple(entries)
