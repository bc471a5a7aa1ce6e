"""Checks of what a decoder's artifact and its source have in common besides weights: the tokenizer and the template."""

from __future__ import annotations

from collections.abc import Mapping

from edgec.documents.canonical import sha256_bytes
from edgec.errors import InputError
from edgec.prove.chat_template import CONVERSATIONS, render_chat, special_token_texts
from edgec.prove.decoder_pair.texts import PairTokenizer
from edgec.prove.model import Check


def vocabulary_check(tokenizer: PairTokenizer, vocabulary: int) -> Check:
    """Models have more rows than tokens, never fewer."""
    largest = tokenizer.largest_id
    return Check(
        name="largest token id",
        measured=largest,
        threshold=vocabulary - 1,
        relation="<=",
        unit="the last row of the vocabulary",
        passed=largest < vocabulary,
        hint="tokenizer.json and config.json do not belong together: download the checkpoint again",
    )


def tokenizer_check(tokenizer: PairTokenizer, carried: Mapping[str, bytes]) -> tuple[Check, ...]:
    """A tokenizer.json that the artifact carries is the source's, byte for byte."""
    own = carried.get("tokenizer.json")
    if own is None:
        return ()
    same = sha256_bytes(own) == tokenizer.digest
    return (
        Check(
            name="tokenizer.json of the artifact",
            measured=0 if same else 1,
            threshold=0,
            relation="==",
            unit="files that are not the source's",
            passed=same,
            detail="" if same else f"{sha256_bytes(own)}, the source's is {tokenizer.digest}",
            hint="build again without the cache: the artifact does not come from this source",
        ),
    )


def template_check(template: str | None, files: Mapping[str, bytes]) -> tuple[Check, ...]:
    """One turn of a user must give a prompt."""
    if template is None:
        return ()
    why = ""
    try:
        if not render_chat(template, CONVERSATIONS[0], special_token_texts(files)).strip():
            why = "the prompt is empty"
    except InputError as error:
        why = error.diagnostics[0].message
    return (
        Check(
            name="chat template",
            measured=1 if why else 0,
            threshold=0,
            relation="==",
            unit="conversations that give no prompt",
            passed=not why,
            detail=why,
            hint="give a template that renders: artifacts[].tokenizer.chat_template",
        ),
    )
