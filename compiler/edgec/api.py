"""The verbs of edgec as Python functions: what the commands call, and what other programs may call.

Rules: nothing here prints or exits; errors are `edgec.errors.EdgecError`, progress goes to the reporter given. What a
build with nothing to do does not need is imported where it is used: importing it took twice as long as such a build.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.build.built import Built, built_from, standing_facts
from edgec.build.signers import TO_BE_MADE, BuildKeys, build_keys, find_keys, require_room_for_keys
from edgec.errors import InputError
from edgec.events import ActionFinished, Note, Reporter, silent
from edgec.plan.check import load_checked
from edgec.plan.fingerprint import build_fingerprint
from edgec.plan.origin import PlannedSource, Signer, bundle_name, open_source
from edgec.recipe.load import LoadedRecipe
from edgec.store.actions import ActionStore
from edgec.store.atomic import existing_part, require_writable
from edgec.store.digests import NOT_HASHED, DigestCache
from edgec.store.paths import CACHE_HINT, cache_home, config_home, state_home
from edgec.store.standing import StandingFolders
from edgec.target.model import Target

if TYPE_CHECKING:
    from edgec.build.doctor import Finding
    from edgec.device.facts import DeviceFacts
    from edgec.device.finalize import Bench, Finalized
    from edgec.plan.plan import Plan
    from edgec.toolchain.environments import Environment
    from edgec.toolchain.inventory import Standing


@dataclass(frozen=True)
class Workshop:
    """Where a build keeps its things and how it speaks. The defaults are the user's own folders."""

    cache: Path = field(default_factory=cache_home)
    config: Path = field(default_factory=config_home)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    offline: bool = False
    report: Reporter = silent

    @property
    def store(self) -> ActionStore:
        """The store of action results."""
        return ActionStore(self.cache / "store")

    @property
    def digests(self) -> DigestCache:
        """Remembered file digests."""
        return DigestCache(self.cache / "digests", self.report)

    @property
    def logs(self) -> Path:
        """Where the output of processes that failed is kept."""
        return self.cache / "logs"

    @property
    def toolchains(self) -> Path:
        """Where the environments of external tools stand."""
        return self.cache / "toolchains"

    @property
    def standing(self) -> StandingFolders:
        """Records of the bundles written."""
        return StandingFolders(self.cache / "bundles")


def check(
    recipe: str | os.PathLike[str], *, sets: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> tuple[LoadedRecipe, Target]:
    """Loads and cross-checks a recipe and its target. Raises InputError with every mistake at once."""
    if isinstance(sets, str):
        raise TypeError(f"sets is a list of texts: write sets=[{sets!r}]")
    return load_checked(Path(recipe), sets=sets, env=env)


def plan(
    recipe: str | os.PathLike[str],
    *,
    sets: Sequence[str] = (),
    workshop: Workshop | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Plan:
    """Plans the build of a recipe: reads only, and of a hub model only small files and headers.

    Raises InputError when the recipe is wrong or the model is not supported. A model that does not fit is planned:
    see `edgec.plan.make.refuse_misfits`.
    """
    from edgec.plan.make import make_plan  # noqa: PLC0415

    shop = workshop or Workshop()
    loaded, target = check(recipe, sets=sets, env=shop.env)
    signer, dify_signer = find_keys(loaded, shop.config, shop.env).signers
    source = _source(loaded, shop, shop.digests.peek)
    fingerprint = build_fingerprint(loaded, target, source, (signer, dify_signer), shop.digests)
    destination = Path(output or "artifacts") / bundle_name(loaded, target)
    stands = standing_facts(shop.standing, destination, None, fingerprint) is not None
    return make_plan(loaded, target, source, shop.store, bundle_stands=stands, signer=signer, dify_signer=dify_signer)


def _source(loaded: LoadedRecipe, shop: Workshop, digest_file: Callable[[Path], str]) -> PlannedSource:
    return open_source(loaded, offline=shop.offline, digest_file=digest_file, report=shop.report)


def _digested(loaded: LoadedRecipe, target: Target, signer: Signer, shop: Workshop) -> PlannedSource:
    """The source with every digest. A misfit is refused before a large file is read for it."""
    peeked = _source(loaded, shop, shop.digests.peek)
    if all(f.digest != NOT_HASHED for f in peeked.header.identity.files):
        return peeked
    from edgec.plan.make import make_plan, refuse_misfits  # noqa: PLC0415

    refuse_misfits(make_plan(loaded, target, peeked, shop.store, bundle_stands=False, signer=signer))
    return _source(loaded, shop, shop.digests)


def build(
    recipe: str | os.PathLike[str],
    *,
    sets: Sequence[str] = (),
    workshop: Workshop | None = None,
    output: str | os.PathLike[str] | None = None,
    archive: bool = False,
    bench: Bench | None = None,
) -> Built:
    """Builds, proves and signs the bundle of a recipe under `output` (default: `artifacts`).

    Where this machine is a device that the bundle is for, and has the vendor's builder, its engines are built and
    proven as well: `bench` says how, see `edgec.device.finalize.Bench`. Raises InputError (recipe, model, misfit),
    ToolError (machine), ProofError (the artifact is not good enough).
    """
    started = time.monotonic()
    shop = workshop or Workshop()
    folder = Path(output or "artifacts")
    loaded, target = check(recipe, sets=sets, env=shop.env)
    # Found out now, not after an hour of quantizing.
    _require_folder(folder)
    require_writable(folder)
    require_writable(shop.cache, hint=CACHE_HINT)
    name = bundle_name(loaded, target)
    tar = folder / f"{name}.tar" if archive else None
    found = find_keys(loaded, shop.config, shop.env, shop.report)
    require_room_for_keys(shop.config, found)
    source = _digested(loaded, target, found.signers[0], shop)
    if TO_BE_MADE in found.signers:
        from edgec.plan.make import make_plan, refuse_misfits  # noqa: PLC0415

        # A mistake that planning finds comes before a key that nobody asked for.
        refuse_misfits(make_plan(loaded, target, source, shop.store, bundle_stands=False, signer=found.signers[0]))
    keys = build_keys(found, loaded, shop.config, shop.env, shop.report)
    # Nothing changed: said without reading a vocabulary of 150000 tokens.
    fingerprint = build_fingerprint(loaded, target, source, (keys.signer, keys.dify_signer), shop.digests)
    facts = standing_facts(shop.standing, folder / name, tar, fingerprint)
    if facts is not None:
        shop.report(ActionFinished("bundle", "bundle", cached=True, wall_s=0.0))
        built = built_from(facts, folder / name, tar, cached=True, wall_s=time.monotonic() - started)
        return _with_engines(built, keys, shop, bench)
    from edgec.build.bundle_step import run_bundle  # noqa: PLC0415
    from edgec.build.run import Runner  # noqa: PLC0415
    from edgec.plan.make import make_plan, refuse_full_disk, refuse_misfits  # noqa: PLC0415

    made = make_plan(
        loaded, target, source, shop.store, bundle_stands=False, signer=keys.signer, dify_signer=keys.dify_signer
    )
    refuse_misfits(made)
    refuse_full_disk(made, shop.cache, folder, archive=archive)
    with Runner(made, shop.store, shop.report, shop.digests, shop.logs, shop.toolchains) as runner:
        runner.install_toolchains()
        built = run_bundle(
            runner, shop.standing, keys=keys, destination=folder / name, archive=tar, fingerprint=fingerprint
        )
    return _with_engines(built, keys, shop, bench)


def _with_engines(built: Built, keys: BuildKeys, shop: Workshop, bench: Bench | None) -> Built:
    """The build with the engines that this very machine could make of it."""
    if not built.finishes_on_device:
        return built
    from edgec.device.finalize import Bench  # noqa: PLC0415
    from edgec.device.here import finish_here  # noqa: PLC0415

    own = Bench(env=shop.env, config=shop.config, report=shop.report) if bench is None else bench
    # What was signed a moment ago is signed by a key of this machine.
    trusting = replace(own, public_key=keys.bundle.public, accept_development_key=True)
    return replace(built, engines=tuple(f.place.engine for f in finish_here(built.path, trusting)))


def _require_folder(output: Path) -> None:
    standing = existing_part(output)
    if not standing.is_dir():
        raise InputError.of("is a file, not a folder", place=str(standing), hint="name a folder with --output")


def clean(
    workshop: Workshop, *, references_only: bool = False, damaged_only: bool = False, dry_run: bool = False
) -> dict[str, int]:
    """Removes stored results and returns their sizes in bytes by name; what a running build uses stays.

    `damaged_only`: those whose files are not what was stored; reads all of them.
    """
    store = workshop.store
    entries = {
        e.name: e.size_bytes
        for e in store.entries()
        if (e.is_reference or not references_only) and (not damaged_only or store.is_damaged(e.name))
    }
    if dry_run:
        return entries
    removed = {name: size for name, size in entries.items() if store.remove(name)}
    if kept := len(entries) - len(removed):
        workshop.report(Note(f"a running build uses {kept} of the results; they stay"))
    return removed


def clean_toolchains(workshop: Workshop, *, dry_run: bool = False) -> dict[str, int]:
    """Removes environments of earlier locks, remains of killed installs and kept wheels; their bytes by name."""
    from edgec.toolchain.inventory import dispensable, dispose  # noqa: PLC0415

    found = dispensable(workshop.toolchains)
    return {folder.name: size for folder, size in found.items() if dry_run or dispose(folder)}


def toolchains(workshop: Workshop) -> tuple[Standing, ...]:
    """Every toolchain edgec knows, and which are installed."""
    from edgec.toolchain.inventory import inventory  # noqa: PLC0415

    return inventory(workshop.toolchains)


def install_toolchain(name: str, workshop: Workshop) -> Environment:
    """The environment of the toolchain, made if it is not there. Raises InputError (no such name), ToolError."""
    from edgec.toolchain.environments import find_toolchain, install  # noqa: PLC0415

    log = workshop.logs / f"toolchain-{name}.log"
    toolchain = find_toolchain(name)
    return install(toolchain, workshop.toolchains, offline=workshop.offline, report=workshop.report, log=log)


def remove_toolchain(name: str, workshop: Workshop) -> int:
    """Removes the toolchain's environments and returns the bytes freed. Raises InputError, ToolError (in use)."""
    from edgec.toolchain.environments import find_toolchain, remove  # noqa: PLC0415

    return remove(find_toolchain(name), workshop.toolchains)


def doctor(workshop: Workshop) -> tuple[Finding, ...]:
    """What of this machine would stop a build."""
    from edgec.build.doctor import examine  # noqa: PLC0415

    return examine(workshop.cache, workshop.config, workshop.env)


def device_facts(root: str | os.PathLike[str] = "/") -> DeviceFacts:
    """What this device is, or the one whose file system is at `root`."""
    from edgec.device.facts import read_facts  # noqa: PLC0415

    return read_facts(Path(root), state_home())


def device_finalize(
    bundle: str | os.PathLike[str], *, artifact: str | None = None, bench: Bench | None = None
) -> Finalized:
    """Builds, proves and activates the engine of a bundle on this device; see `edgec.device.finalize.Bench`.

    Raises InputError, ProofError (the bundle or the engine), DeviceError (mismatch, failed build), ToolError (disk).
    """
    from edgec.bundle.keyring import trusted_keys  # noqa: PLC0415
    from edgec.device.finalize import Bench, finalize  # noqa: PLC0415

    return finalize(Path(bundle), artifact=artifact, bench=bench or Bench(trusted=trusted_keys(config_home())))
