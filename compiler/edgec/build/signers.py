"""The keys of one build, found before its first step: the bundle's and, where a Dify package is wanted, that one's.

Rule: planning makes nothing, not even the development keys that a build would make; a build makes them once it knows
that its recipe is sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.bundle.keyfile import SigningKey
from edgec.bundle.keyring import default_signing_key, find_signing_key, keys_folder
from edgec.deploy.dify.keyring import default_dify_key, dify_keys_folder, find_dify_key
from edgec.deploy.dify.keys import DifySigningKey
from edgec.events import Reporter, silent
from edgec.plan.origin import Signer
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


@dataclass(frozen=True)
class FoundKeys:
    """The keys that are there, each with whether it is only a development key; None: still to be made."""

    bundle: tuple[SigningKey, bool] | None
    dify: tuple[DifySigningKey, bool] | None
    wants_dify: bool

    @property
    def signers(self) -> tuple[Signer, Signer | None]:
        """Who would sign the bundle and the Dify package, `TO_BE_MADE` where nobody can yet."""
        return _signer(self.bundle), _signer(self.dify) if self.wants_dify else None


def find_keys(loaded: LoadedRecipe, config: Path, env: Mapping[str, str], report: Reporter = silent) -> FoundKeys:
    """Looks for the keys of a build and makes none. Raises InputError for a key that cannot be used."""
    wants_dify = loaded.recipe.package.dify is not None
    return FoundKeys(
        find_signing_key(config, _bundle_key(loaded), env, report=report),
        find_dify_key(config, _dify_key(loaded), env, report=report) if wants_dify else None,
        wants_dify,
    )


def require_room_for_keys(config: Path, found: FoundKeys) -> None:
    """Raises ToolError where a key is to be made and its folder cannot be written to; makes nothing."""
    signer, dify_signer = found.signers
    if signer == TO_BE_MADE:
        require_writable(keys_folder(config), hint=CONFIG_HINT)
    if dify_signer == TO_BE_MADE:
        require_writable(dify_keys_folder(config), hint=CONFIG_HINT)


def build_keys(
    found: FoundKeys, loaded: LoadedRecipe, config: Path, env: Mapping[str, str], report: Reporter
) -> BuildKeys:
    """The keys of a build; makes the development keys that were not found. Raises ToolError where none can be made."""
    bundle = found.bundle or default_signing_key(config, _bundle_key(loaded), env, report=report)
    if not found.wants_dify:
        return BuildKeys(bundle[0], _signer(bundle), None, None)
    dify = found.dify or default_dify_key(config, _dify_key(loaded), env, report=report)
    return BuildKeys(bundle[0], _signer(bundle), dify[0], _signer(dify))


def _signer(found: tuple[SigningKey | DifySigningKey, bool] | None) -> Signer:
    return TO_BE_MADE if found is None else Signer(found[0].public.fingerprint, found[1])


def _bundle_key(loaded: LoadedRecipe) -> Path | None:
    key = loaded.recipe.sign.key
    return None if key is None else loaded.resolve(key)


def _dify_key(loaded: LoadedRecipe) -> Path | None:
    dify = loaded.recipe.package.dify
    return None if dify is None or dify.key is None else loaded.resolve(dify.key)
