"""The keys of one build, found before its first step: the bundle's and, where a Dify package is wanted, that one's.

Rule: planning makes nothing, not even the development keys that a build would make; a build makes them once it knows
that its recipe is sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgec.bundle.keyfile import SigningKey
from edgec.bundle.keyring import default_signing_key, find_signing_key, keys_folder
from edgec.deploy.dify.keyring import default_dify_key, dify_keys_folder, find_dify_key
from edgec.deploy.dify.keys import DifySigningKey
from edgec.events import Event, Reporter
from edgec.plan.plan import Signer
from edgec.recipe.load import LoadedRecipe
from edgec.store.atomic import require_writable
from edgec.store.paths import CONFIG_HINT

TO_BE_MADE = Signer("to be made", True)


@dataclass(frozen=True)
class BuildKeys:
    """What a build signs with; `dify` is None when the recipe asks for no Dify package."""

    bundle: SigningKey
    signer: Signer
    dify: DifySigningKey | None
    dify_signer: Signer | None


def planned_signers(loaded: LoadedRecipe, config: Path, env: Mapping[str, str]) -> tuple[Signer, Signer | None]:
    """Who would sign the bundle and the Dify package. Raises InputError for a key that cannot be used."""
    found = find_signing_key(config, _bundle_key(loaded), env)
    signer = TO_BE_MADE if found is None else Signer(found[0].public.fingerprint, found[1])
    if loaded.recipe.package.dify is None:
        return signer, None
    dify = find_dify_key(config, _dify_key(loaded), env)
    return signer, TO_BE_MADE if dify is None else Signer(dify[0].public.fingerprint, dify[1])


def find_keys(loaded: LoadedRecipe, config: Path, env: Mapping[str, str], report: Reporter) -> BuildKeys | None:
    """The keys of a build, None where one is still to be made. Raises InputError for a key that cannot be used."""
    said: list[Event] = []
    found = find_signing_key(config, _bundle_key(loaded), env, report=said.append)
    if found is None:
        return None
    keys = BuildKeys(found[0], Signer(found[0].public.fingerprint, found[1]), None, None)
    if loaded.recipe.package.dify is not None:
        dify = find_dify_key(config, _dify_key(loaded), env, report=said.append)
        if dify is None:
            return None
        keys = replace(keys, dify=dify[0], dify_signer=Signer(dify[0].public.fingerprint, dify[1]))
    for event in said:
        report(event)
    return keys


def require_room_for_keys(config: Path, signer: Signer, dify_signer: Signer | None) -> None:
    """Raises ToolError where a key is to be made and its folder cannot be written to; makes nothing."""
    if signer == TO_BE_MADE:
        require_writable(keys_folder(config), hint=CONFIG_HINT)
    if dify_signer == TO_BE_MADE:
        require_writable(dify_keys_folder(config), hint=CONFIG_HINT)


def build_keys(loaded: LoadedRecipe, config: Path, env: Mapping[str, str], report: Reporter) -> BuildKeys:
    """The keys of a build; makes the development keys that it lacks.

    Raises InputError for a key that cannot be used, ToolError where none can be made.
    """
    found = find_signing_key(config, _bundle_key(loaded), env, report=report)
    if found is None:
        found = default_signing_key(config, _bundle_key(loaded), env, report=report)
    signer = Signer(found[0].public.fingerprint, found[1])
    if loaded.recipe.package.dify is None:
        return BuildKeys(found[0], signer, None, None)
    dify = find_dify_key(config, _dify_key(loaded), env, report=report)
    if dify is None:
        dify = default_dify_key(config, _dify_key(loaded), env, report=report)
    return BuildKeys(found[0], signer, dify[0], Signer(dify[0].public.fingerprint, dify[1]))


def _bundle_key(loaded: LoadedRecipe) -> Path | None:
    key = loaded.recipe.sign.key
    return None if key is None else loaded.resolve(key)


def _dify_key(loaded: LoadedRecipe) -> Path | None:
    dify = loaded.recipe.package.dify
    return None if dify is None or dify.key is None else loaded.resolve(dify.key)
