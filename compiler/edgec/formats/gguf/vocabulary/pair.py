"""How a reranker's tokenizer puts a query and a document together, as llama.cpp's prompt for rerankers.

Rule: without such a prompt llama.cpp's server leaves out the last separator of a BERT, so one is always written.
"""

from __future__ import annotations

from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.files import Json

# The prompt's metadata key, and its places for the two texts: llama.cpp's own.
RERANK_KEY = "tokenizer.chat_template.rerank"
QUERY, DOCUMENT = "{query}", "{document}"


def pair_template(tokenizer: Json | None) -> str:
    """The prompt of `tokenizer` (tokenizer.json). Raises InputError when it does not say how pairs are built."""
    processor = (tokenizer or {}).get("post_processor")
    if not isinstance(processor, dict):
        raise _unknown()
    try:
        match processor.get("type"):
            case "TemplateProcessing":
                template = "".join(_piece(piece, processor["special_tokens"]) for piece in processor["pair"])
            case "BertProcessing":
                template = f"{processor['cls'][0]}{QUERY}{processor['sep'][0]}{DOCUMENT}{processor['sep'][0]}"
            case "RobertaProcessing":
                sep = processor["sep"][0]
                template = f"{processor['cls'][0]}{QUERY}{sep}{sep}{DOCUMENT}{sep}"
            case _:
                template = ""
    except (KeyError, TypeError, IndexError) as error:
        raise _unknown() from error
    if template.count(QUERY) != 1 or template.count(DOCUMENT) != 1 or template.find(QUERY) > template.find(DOCUMENT):
        raise _unknown()
    return template


def _piece(piece: Any, special: Any) -> str:
    if "SpecialToken" in piece:
        return "".join(special[piece["SpecialToken"]["id"]]["tokens"])
    return {"A": QUERY, "B": DOCUMENT}[piece["Sequence"]["id"]]


def _unknown() -> InputError:
    return InputError.of(
        "the post-processor does not say how a query and a document are put together",
        place="tokenizer.json",
        hint="use the tokenizer.json of the model's publisher; a reranker's has a template for pairs",
    )
