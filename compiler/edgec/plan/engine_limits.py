"""What an engine is built for, from the recipe's wishes and the model's own limits."""

from __future__ import annotations

from edgec.errors import Diagnostic, InputError
from edgec.plan.engine_model import EngineArtifact, EngineLimits
from edgec.recipe.load import LoadedRecipe

# Tokens of context when the recipe does not say; enough for a chat, small enough for 8 GB devices.
_DEFAULT_CONTEXT = 4096


def wished_limits(loaded: LoadedRecipe, artifact: EngineArtifact, index: int, longest: int) -> EngineLimits:
    """The limits that the recipe asks for. Raises InputError where they contradict one another or the model.

    `longest`: tokens that the model can look at together.
    """
    recipe, engine = loaded.recipe, artifact.engine
    asked = None
    if engine.max_input_tokens is not None and engine.max_output_tokens is not None:
        asked = engine.max_input_tokens + engine.max_output_tokens
    context = recipe.context or asked or min(_DEFAULT_CONTEXT, longest)
    if context > longest:
        raise InputError(
            Diagnostic(
                f"a context of {context} tokens is more than the model's {longest}",
                f"set context to {longest} or less",
                loaded.span("context") or loaded.span("artifacts", index, "engine"),
            )
        )
    output_tokens = engine.max_output_tokens
    input_tokens = engine.max_input_tokens
    if input_tokens is None:
        input_tokens = context - output_tokens if output_tokens is not None else max(1, context * 3 // 4)
    if output_tokens is None:
        output_tokens = context - input_tokens
    if input_tokens < 1 or output_tokens < 1 or input_tokens + output_tokens > context:
        named = "max_input_tokens" if engine.max_input_tokens is not None else "max_output_tokens"
        raise InputError(
            Diagnostic(
                f"{max(input_tokens, 0)} tokens of prompt and {max(output_tokens, 0)} of answer do not fit a context "
                f"of {context}",
                "raise `context`, or lower `max_input_tokens` or `max_output_tokens`: each needs at least 1",
                loaded.span("artifacts", index, "engine", named),
            )
        )
    return EngineLimits(recipe.batch, input_tokens, output_tokens, context)
