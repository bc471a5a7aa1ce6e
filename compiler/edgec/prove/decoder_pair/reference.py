"""Makes the document with which an engine's answers are compared on the device, from what torch answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgec.documents.canonical import canonical_json
from edgec.prove.decoder_pair.comparison import Comparison, Continuation
from edgec.prove.decoder_pair.needs import count_new_tokens
from edgec.prove.decoder_pair.texts import PairTokenizer, PromptText
from edgec.prove.device_reference import (
    MAX_LOGPROB_ERROR,
    MIN_AGREEMENT,
    TIE_MARGIN_NATS,
    DeviceReference,
    Position,
    Prompt,
)
from edgec.quantize.architecture import Decoder


def device_reference(
    artifact: str,
    comparison: Comparison,
    prompts: Sequence[PromptText],
    tokenizer: PairTokenizer,
    *,
    decoder: Decoder,
    end_token_ids: tuple[int, ...],
) -> DeviceReference:
    """The document of `artifact`; every prompt must have its continuation."""
    new_tokens, why = count_new_tokens(decoder)
    return DeviceReference(
        schema="edgec/device-reference/v1",
        artifact=artifact,
        framework=comparison.framework,
        tokenizer_digest=tokenizer.digest,
        new_tokens=new_tokens,
        new_tokens_why=why,
        end_token_ids=end_token_ids,
        tie_margin_nats=TIE_MARGIN_NATS,
        min_agreement=MIN_AGREEMENT,
        max_logprob_error=MAX_LOGPROB_ERROR,
        prompts=tuple(
            _prompt(prompt, _until_end(continuation, end_token_ids), tokenizer)
            for prompt, continuation in zip(prompts, comparison.continuations, strict=True)
        ),
    )


def reference_bytes(document: DeviceReference) -> bytes:
    """The document's file: the same bytes for the same content."""
    return canonical_json(document.model_dump(mode="json", by_alias=True))


def end_tokens(config: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[int, ...]:
    """The ids at which generation ends: generation_config.json's, which wins, or config.json's."""
    generation = json.loads(files.get("generation_config.json", b"{}"))
    value = generation.get("eos_token_id", config.get("eos_token_id"))
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, int))


def _until_end(continuation: Continuation, end_token_ids: tuple[int, ...]) -> Continuation:
    """Up to the first end token, with it: no runtime writes on."""
    for index, position in enumerate(continuation):
        if position[0][0] in end_token_ids:
            return continuation[: index + 1]
    return continuation


def _prompt(prompt: PromptText, continuation: Continuation, tokenizer: PairTokenizer) -> Prompt:
    taken: list[int] = []
    positions = []
    for top in continuation:
        ties = (token for token, value in top[1:] if top[0][1] - value < TIE_MARGIN_NATS)
        tie_texts = (tokenizer.answer_text([*taken, token]) for token in ties)
        taken.append(top[0][0])
        positions.append(
            Position(
                top=top,
                text=tokenizer.answer_text(taken),
                tie_texts=tuple(text for text in tie_texts if text is not None),
            )
        )
    return Prompt(
        name=prompt.name,
        text=prompt.text,
        token_ids=prompt.token_ids,
        adds_special=prompt.adds_special,
        chat=prompt.chat,
        positions=tuple(positions),
    )
