"""What a recipe may ask of an emulated processor, as far as the documents show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgec.documents.wording import listed
from edgec.prove.emulated.subject import FORMATS
from edgec.recipe.load import LoadedRecipe
from edgec.target.model import Target

AT = ("prove", "emulate")


@dataclass(frozen=True)
class EmulationMistake:
    """Why a recipe's `prove.emulate` cannot be done, and what to do instead."""

    message: str
    hint: str


def emulation_mistakes(loaded: LoadedRecipe, target: Target) -> Iterator[EmulationMistake]:
    """What is wrong with `prove.emulate: true` on this target, before the model is looked at."""
    if not loaded.recipe.prove.emulate:
        return
    if target.isa.arch != "aarch64":
        yield EmulationMistake(
            f"`{target.name}` is {target.isa.arch}, and only 64-bit ARM (aarch64) is emulated",
            "remove `prove.emulate`, or choose a target with an aarch64 processor",
        )
    elif target.isa.qemu_cpu is None:
        yield EmulationMistake(
            f"the profile of `{target.name}` does not say which processor of qemu is like its own",
            "set `isa.qemu_cpu` in the profile, for example `cortex-a76`; `qemu-aarch64-static -cpu help` lists them",
        )
    if not any(artifact.format in FORMATS for artifact in loaded.recipe.artifacts):
        yield EmulationMistake("no artifact can be emulated", f"emulated are the formats {listed(FORMATS)}")
