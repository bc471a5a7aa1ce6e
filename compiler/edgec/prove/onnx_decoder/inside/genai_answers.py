"""What onnxruntime-genai makes of the artifact's folder: its token ids of texts, and its greedy answers.

Runs in the toolchain `genai`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime_genai
import torch


def answer_in_genai(request: dict[str, Any], decoded: Sequence[torch.Tensor]) -> dict[str, Any]:
    """`answers`: token ids of each prompt; `margins`: how far, in logits, the first token that is not the artifact's
    own most likely one lies below it, 0 where all are; `token_ids` of `texts`; `decoded_texts` of the answers.

    `decoded`: the logits of the artifact's own answers.
    """
    try:
        model = onnxruntime_genai.Model(request["runtime"])
        tokenizer = onnxruntime_genai.Tokenizer(model)
        token_ids = [[int(i) for i in tokenizer.encode(text)] for text in request["texts"]]
        answers = [_answer(model, prompt, request) for prompt in request["prompts"]]
        texts = [str(tokenizer.decode(np.asarray(answer, np.int32))) for answer in answers]
    except RuntimeError as error:
        return {"failed": str(error)[:400]}
    return {
        "answers": answers,
        "margins": [_margin(answer, rows) for answer, rows in zip(answers, decoded, strict=True)],
        "token_ids": token_ids,
        "decoded_texts": texts,
        "version": onnxruntime_genai.__version__,
    }


def _answer(model: Any, prompt: Sequence[int], request: dict[str, Any]) -> list[int]:
    params = onnxruntime_genai.GeneratorParams(model)
    # What the model's publisher recommends would choose other tokens than the most likely.
    params.set_search_options(
        do_sample=False, num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0, min_length=0,
        max_length=len(prompt) + int(request["new_tokens"]),
    )  # fmt: skip
    generator = onnxruntime_genai.Generator(model, params)
    generator.append_tokens(np.asarray(prompt, np.int32))
    found: list[int] = []
    while len(found) < int(request["new_tokens"]) and not generator.is_done():
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    return found


def _margin(answer: Sequence[int], rows: torch.Tensor) -> float:
    for token, row in zip(answer, rows, strict=False):
        best = int(row.argmax())
        if token != best:
            return float(row[best] - row[token])
    return 0.0
