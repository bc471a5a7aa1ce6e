"""What a recipe says of an `onnx` artifact that its model does not take: schemes, and settings of decoders.

Rule: each is refused at its line, before the model is planned.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.documents.wording import listed
from edgec.errors import Diagnostic, InputError
from edgec.plan.encoder import runtimes_of
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.target.model import Target

ENCODER_SCHEMES = ("auto", "int8_fine", "int8", "int8_static", "int4", "fp32")
# Of what is no text model: 4 bits were made and measured for encoders alone.
GRAPH_SCHEMES = tuple(scheme for scheme in ENCODER_SCHEMES if scheme != "int4")


def refuse_decoder_settings(
    loaded: LoadedRecipe, target: Target, artifact: OnnxArtifact, index: int, schemes: Sequence[str]
) -> None:
    """Raises InputError, at their lines, for settings of decoders where the model is none, and for any scheme that is
    not among `schemes` or that no runtime of the target has."""
    base = ("artifacts", index)
    found = []
    scheme = artifact.quantize.scheme
    served = {s for runtime in runtimes_of(target, artifact) for s in runtime.schemes}
    if scheme not in schemes or scheme not in served:
        span = loaded.span(*base, "quantize", "scheme") or loaded.span(*base, "quantize")
        hint = f"choose one of {listed([s for s in schemes if s in served])}"
        found.append(Diagnostic(_why(scheme, schemes, target), hint, span))
    written: list[tuple[str | int, ...]] = [(*base, "graph")] if "graph" in artifact.model_fields_set else []
    written += [
        (*base, "quantize", name) for name in ("block_size", "algorithm") if name in artifact.quantize.model_fields_set
    ]
    found += [
        Diagnostic(f"`{at[-1]}` is for decoders, and this model is none", "remove it", loaded.span(*at))
        for at in written
    ]
    if found:
        raise InputError(*found)


def _why(scheme: str, schemes: Sequence[str], target: Target) -> str:
    if scheme not in ENCODER_SCHEMES:
        return f"`{scheme}` is for decoders, and this model is none"
    if scheme not in schemes:
        return f"`{scheme}` is for models of texts, and this model is none"
    return f"`{target.name}` runs no model of this kind in `{scheme}`"
