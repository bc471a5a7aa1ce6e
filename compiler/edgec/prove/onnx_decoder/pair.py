"""Proves an ONNX decoder in onnxruntime, KV cache and all, against its source in torch.

Rules: the artifact's own runtime computes, nothing is decoded for it; what only the device can show is said to be not
verified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.formats.gguf.vocabulary.files import read_files
from edgec.formats.gguf.vocabulary.template import chat_template
from edgec.prove.chat_template import special_token_texts
from edgec.prove.checks import at_most, divergence_checks
from edgec.prove.corpus import corpus
from edgec.prove.decoder_pair.needs import PROMPT_TOKENS
from edgec.prove.decoder_pair.reference import end_tokens
from edgec.prove.decoder_pair.source_checks import template_check, tokenizer_check, vocabulary_check
from edgec.prove.decoder_pair.texts import PairTokenizer, PromptText
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Check, NotVerified, Proof, Sample
from edgec.prove.onnx_decoder.comparison import NEW_TOKENS, TOOLCHAIN, OnnxComparison, compare_onnx, proof_memory_mib
from edgec.prove.thresholds import Thresholds, demanded
from edgec.quantize.architecture import read_decoder
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.environments import Environment

__all__ = ["TOOLCHAIN", "OnnxDecoder", "proof_memory_mib", "prove_onnx_decoder"]

_CONFIG = "genai_config.json"
# Logits of two tokens that are nearer than this are as good as equal: threads add in another order.
_TIE_LOGITS = 0.01
# The greedy text has few tokens, and those that the artifact itself found likely.
_DECODED_FACTOR = 2.0
# With its KV cache an artifact may be as far from itself without one as this share of what the scheme may lose; other
# kernels for single tokens took less than a hundredth (docs/onnx.md).
_CACHE_SHARE = 0.1
_SHOWN_CHARS = 60
_AGAIN = "build again without the cache (edgec clean); if it happens again, report it with the log"


@dataclass(frozen=True)
class OnnxDecoder:
    """An artifact and its source. `model`: the ONNX file, its other files beside it; `in_genai`: whether
    onnxruntime-genai runs it; `context`: tokens its configuration holds; `held_out_text` None: a short built-in text.
    """

    name: str
    source: Checkpoint
    model: Path
    scheme: str
    in_genai: bool
    context: int
    weights_bytes: int
    settings: Prove
    held_out_text: str | None
    artifact_files: Mapping[str, bytes]
    logs: Path

    @property
    def text(self) -> str:
        """The text to prove on."""
        return built_in_text() if self.held_out_text is None else self.held_out_text

    @property
    def limits(self) -> Thresholds:
        """What is demanded."""
        return demanded(self.scheme, self.settings)


def prove_onnx_decoder(subject: OnnxDecoder, environment: Environment, report: Reporter) -> Proof:
    """The proof; a miss is a failed check. `environment`: of the toolchain `genai`.

    Raises InputError for a source that cannot be compared or a text too short, ProofError for an artifact that
    onnxruntime does not load, ToolError for a comparison that died, hung or has too little memory.
    """
    header = subject.source.header
    decoder = read_decoder(header.config)
    tokenizer = PairTokenizer(header.files)
    template = chat_template(read_files(header.files, dict(header.config)), None)[0]
    ends = end_tokens(header.config, header.files)
    fits = vocabulary_check(tokenizer, decoder.vocabulary)
    checks = [fits, *tokenizer_check(tokenizer, subject.artifact_files), *template_check(template, header.files)]
    checks += _end_check(subject, ends)
    if not fits.passed:
        return Proof(artifact=subject.name, runtime="none", checks=tuple(checks))
    held_out = tokenizer.windows(
        subject.text, subject.settings, report, n_ctx=decoder.context, n_vocab=decoder.vocabulary
    )
    room = min(subject.context, decoder.context)
    new_tokens = min(NEW_TOKENS, max(1, room // 2))
    size = min(PROMPT_TOKENS, held_out.size, room - new_tokens)
    prompts = tokenizer.prompts(subject.text, template if all(c.passed for c in checks) else None, size=size)
    texts = [piece.text for piece in corpus(sorted(set(special_token_texts(header.files).values())))]
    found = compare_onnx(
        subject.source.root, subject.model, held_out, prompts, texts,
        decoder=decoder, weights_bytes=subject.weights_bytes, in_genai=subject.in_genai, end_ids=ends,
        new_tokens=new_tokens,
        settings=subject.settings, environment=environment, logs=subject.logs, report=report,
    )  # fmt: skip
    checks += divergence_checks(found.windows, held_out, subject.limits)
    checks += _decoding_checks(found, subject.limits)
    checks += _genai_checks(found, prompts)
    return Proof(
        artifact=subject.name,
        runtime=_runtime(found),
        checks=tuple(checks),
        samples=_samples(found, prompts, tokenizer),
        not_verified=_limits(subject, template, held_out.size, _strange_texts(found, prompts, texts, tokenizer)),
    )


def _runtime(found: OnnxComparison) -> str:
    own = f"onnxruntime {found.versions['onnxruntime']}"
    return own if found.genai is None else f"onnxruntime-genai {found.genai.version}, {own}"


def _end_check(subject: OnnxDecoder, ends: Sequence[int]) -> list[Check]:
    """onnxruntime-genai ends at the tokens of its own configuration."""
    content = subject.artifact_files.get(_CONFIG)
    if content is None:
        return []
    value = json.loads(content)["model"].get("eos_token_id")
    own = set(value if isinstance(value, list) else [value])
    missing = sorted(set(ends) - own)
    return [
        Check(
            name="end tokens", measured=len(missing), threshold=0, relation="==",
            unit=f"of the model's that {_CONFIG} lacks", passed=not missing, detail=f"{missing}" if missing else "",
            hint="generation would not end: report it with genai_config.json",
        )
    ]  # fmt: skip


def _decoding_checks(found: OnnxComparison, limits: Thresholds) -> list[Check]:
    """Token by token with the KV cache: near the source, and near the artifact's own logits without one."""
    detail = f"{found.decoded.tokens} tokens that it wrote, one at a time"
    broken = at_most("logits not finite, decoding", found.decoded.broken, 0, "tokens", hint=_AGAIN)
    if found.decoded.tokens == 0:
        return [broken]
    limit = _DECODED_FACTOR * limits.max_kl
    finer = "choose a finer quantization scheme, or set prove.max_kl"
    return [
        broken,
        at_most("KL divergence, decoding", found.decoded.mean_kl, limit, "nats", detail=detail, hint=finer),
        at_most(
            "KV cache", found.at_once.mean_kl, _CACHE_SHARE * limits.max_kl, "nats from itself without one",
            detail=detail, hint=f"the graph's KV cache is wrong: {_AGAIN}",
        ),
    ]  # fmt: skip


def _genai_checks(found: OnnxComparison, prompts: Sequence[PromptText]) -> list[Check]:
    """onnxruntime-genai reads the prompts as the source's tokenizer does, and writes the most likely tokens."""
    if found.genai is None:
        return []
    other = sum(margin > _TIE_LOGITS for margin in found.genai.margins)
    # A chat's text has its special tokens already, and onnxruntime-genai may be told to add none.
    pairs = [(p, ids) for p, ids in zip(prompts, found.genai.token_ids, strict=False) if p.adds_special]
    ids = sum(tuple(prompt.token_ids) != given for prompt, given in pairs)
    unit = f"of {len(prompts)} prompts"
    hint = "the folder's configuration is wrong: report it with genai_config.json and tokenizer_config.json"
    return [
        Check(name="token ids in onnxruntime-genai", measured=ids, threshold=0, relation="==",
              unit=f"{unit} that it reads otherwise", passed=ids == 0, hint=hint),
        Check(name="greedy text in onnxruntime-genai", measured=other, threshold=0, relation="==",
              unit=f"{unit} that it continues otherwise", passed=other == 0, hint=hint),
    ]  # fmt: skip


def _strange_texts(
    found: OnnxComparison, prompts: Sequence[PromptText], texts: Sequence[str], tokenizer: PairTokenizer
) -> list[str]:
    """Texts of the corpus that onnxruntime-genai's own tokenizer reads in another way than the source's."""
    if found.genai is None:
        return []
    given = found.genai.token_ids[len(prompts) :]
    return [text for text, ids in zip(texts, given, strict=True) if tokenizer.token_ids(text) != ids]


def _samples(found: OnnxComparison, prompts: Sequence[PromptText], tokenizer: PairTokenizer) -> tuple[Sample, ...]:
    """The beginnings of the artifact's answers."""
    texts = (tokenizer.answer_text(ids) for ids in found.answers)
    return tuple(
        Sample(prompt=prompt.chat or prompt.text, text=text)
        for prompt, text in zip(prompts, texts, strict=True)
        if text is not None
    )


def _limits(subject: OnnxDecoder, template: str | None, window: int, strange: Sequence[str]) -> tuple[NotVerified, ...]:
    """What no build shows."""
    entries = [
        NotVerified(
            what="the device's own kernels",
            why="the proof ran on this machine; kernels of other processors round integer products on their own",
        ),
        NotVerified(what="speed on the device", why="it was not run there; the plan's range is a prediction"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(what=f"texts of more than {window} tokens", why="the proof's texts are no longer"),
    ]
    if not subject.in_genai:
        why = "the graph was run in onnxruntime; another runtime has kernels and a KV cache of its own"
        entries.append(NotVerified(what="other runtimes", why=why))
    if strange:
        example = ", ".join(repr(text[:_SHOWN_CHARS]) for text in strange[:3])
        why = f"onnxruntime-genai's own tokenizer reads {len(strange)} of the corpus's texts in another way"
        entries.append(NotVerified(what="token ids of unusual texts", why=why, example=example))
    if subject.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    if template is None:
        why = "the model has none; prompts were continued as plain text"
        entries.append(NotVerified(what="chat template", why=why))
    return tuple(entries)
