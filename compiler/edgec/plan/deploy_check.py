"""What is wrong with a recipe's `package:` as far as the documents show.

Rule: nothing is known of the model here; the plan asks the emitters again, with its facts.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgec.deploy.dify import emit as dify
from edgec.deploy.model import Mistake
from edgec.deploy.triton import emit as triton
from edgec.recipe.load import LoadedRecipe

# Formats that Triton has a backend for, and those whose server speaks OpenAI's API, as Dify wants it.
TRITON_FORMATS = ("gguf", "trtllm")
_OPENAI_FORMATS = ("gguf",)
_FIRST = "put an artifact with `format: gguf` first: Triton and Dify serve the first"


def deployment_mistakes(loaded: LoadedRecipe) -> Iterator[Mistake]:
    """What is wrong with `package:` as far as the documents show."""
    yield from _unserved(loaded)
    package = loaded.recipe.package
    if package.triton is not None:
        yield from triton.check(package.triton, loaded.recipe)
    if package.dify is not None:
        yield from dify.check(package.dify, loaded.recipe, loaded.resolve)


def _unserved(loaded: LoadedRecipe) -> Iterator[Mistake]:
    """What is asked for and cannot serve the first artifact. A Triton repository nobody asked for is just left out."""
    package, served = loaded.recipe.package, loaded.recipe.artifacts[0].format
    is_written = "triton" in loaded.recipe.package.model_fields_set and package.triton is not None
    if is_written and served not in TRITON_FORMATS:
        message = f"Triton has no backend for `{served}`"
        if served == "onnx":
            message = "this version writes no Triton repository for `onnx`"
        yield Mistake(("package", "triton"), message, f"remove `triton`, or {_FIRST}")
    if package.dify is not None and served not in _OPENAI_FORMATS:
        message = f"Dify talks to servers with OpenAI's API, and an engine made of `{served}` has none"
        yield Mistake(("package", "dify"), message, f"remove `dify`, or {_FIRST}")
