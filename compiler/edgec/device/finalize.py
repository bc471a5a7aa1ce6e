"""Finishes a bundle on the device: verify, compare with the device, build, prove, sign a receipt, put into use.

Rule: nothing of a bundle is used before its signature was checked, and nothing is built before the device was compared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from edgec.bundle.content import MANIFEST_PATH
from edgec.bundle.finalize_plan import FinalizePlan, is_plan_path, parse_plan, plan_path
from edgec.bundle.keyfile import PublicKey
from edgec.bundle.keyring import TrustedKey
from edgec.bundle.opened import Opened, open_bundle
from edgec.bundle.paths import path_fault
from edgec.bundle.strict_json import refuse
from edgec.bundle.verify import Checked, check_documents
from edgec.device.device_key import device_key
from edgec.device.facts import DeviceFacts, read_facts
from edgec.device.gpu import GpuProbe, probe_gpu
from edgec.device.journal import Journal
from edgec.device.match import NOTHING, Amounts, require_match, with_mismatches
from edgec.device.places import EnginePlace, engine_key, engines_root
from edgec.device.receipt import BundleName, Receipt
from edgec.device.unpacking import needed_files, size_mib
from edgec.device.vendor import Vendor, find_vendor, stand_in_vendor
from edgec.device.work import Work
from edgec.documents.canonical import sha256_bytes
from edgec.documents.wording import listed
from edgec.errors import DeviceError, InputError
from edgec.events import Note, Reporter, silent
from edgec.store.atomic import require_writable
from edgec.store.locks import unless_held
from edgec.store.paths import STATE_HINT, config_home, state_home


@dataclass(frozen=True)
class Bench:
    """Where a device keeps things, whom it trusts and how it speaks. The defaults are this machine's own.

    `tools`: the folder of the vendor's programs, else PATH. `stand_in`: a script in their place, for tests; what it
    makes stands apart from the engines and is named as such. `root`: another root than `/` only with a stand-in.
    """

    state: Path = field(default_factory=state_home)
    config: Path = field(default_factory=config_home)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    trusted: Sequence[TrustedKey] = ()
    public_key: PublicKey | None = None
    accept_development_key: bool = False
    tools: Path | None = None
    stand_in: Path | None = None
    root: Path = Path("/")
    probe: GpuProbe = probe_gpu
    report: Reporter = silent

    def vendor(self, plan: FinalizePlan) -> Vendor:
        """The programs that build and run the engine. Raises DeviceError where there are none."""
        return stand_in_vendor(self.stand_in) if self.stand_in else find_vendor(plan, self.tools, self.env)


@dataclass(frozen=True)
class Finalized:
    """An engine in use. `folder`: where it stands; `done`: False when it was there already."""

    place: EnginePlace
    receipt: Receipt
    warnings: tuple[str, ...]
    done: bool


def finalize(path: Path, *, artifact: str | None, bench: Bench) -> Finalized:
    """Finishes the bundle at `path`. `artifact`: which one, where there are several.

    Raises InputError, ProofError (the bundle or the engine), DeviceError (mismatch, failed build), ToolError (disk).
    """
    if bench.root.resolve() != Path("/") and bench.stand_in is None:
        message = "an engine is built for the machine that runs, not for another root"
        raise InputError.of(message, hint="finalize on the device itself; --root is for --stand-in")
    if not bench.root.is_dir():
        raise InputError.of("there is no such folder", place=str(bench.root), hint="name the root of a device's files")
    root = engines_root(bench.state, stand_in=bench.stand_in is not None)
    require_writable(root, hint=STATE_HINT)
    with ExitStack() as stack:
        if not stack.enter_context(unless_held(root / ".lock", hint=STATE_HINT)):
            message = "another `edgec device finalize` runs on this device"
            raise DeviceError.of(message, hint="wait for its end: two builds would not fit into the memory")
        opened = stack.enter_context(open_bundle(path))
        checked = check_documents(
            opened, bench.public_key, bench.trusted, accept_development_key=bench.accept_development_key
        )
        plan = _choose_plan(opened, checked, artifact)
        return _finalize(opened, checked, plan, bench, root)


def _finalize(opened: Opened, checked: Checked, plan: FinalizePlan, bench: Bench, root: Path) -> Finalized:
    facts = read_facts(bench.root, bench.state, bench.probe)
    try:
        vendor = bench.vendor(plan)
    except DeviceError as missing:
        raise with_mismatches(plan, facts, missing) from missing
    versions = vendor.versions(root / "versions.log")
    needed = needed_files(plan, checked)
    manifest_digest = checked.digests[MANIFEST_PATH]
    shelf = root / _folder_name(checked.manifest.name, opened.place) / plan.artifact
    place = EnginePlace(shelf, engine_key(manifest_digest, plan, facts, versions))
    amounts = _amounts(plan, facts, place, size_mib(opened, needed))
    # What stands may be in use just now, and take the memory that a build would need.
    last = Journal(place.journal).last
    stands = last is not None and last.state == "active"
    warnings = require_match(plan, facts, versions, NOTHING if stands else amounts)
    for warning in warnings:
        bench.report(Note(warning, "warning"))
    if vendor.stand_in:
        bench.report(Note("a stand-in builds: what it makes is no engine, and stands apart", "warning"))
    bundle = BundleName(
        name=checked.manifest.name,
        version=checked.manifest.version,
        digest=None if opened.image is None else opened.image.descriptor.digest,
        manifest_digest=manifest_digest,
        signer=checked.signer.fingerprint,
    )
    work = Work(
        opened=opened,
        checked=checked,
        needed=needed,
        bundle=bundle,
        plan=plan,
        facts=facts,
        versions=versions,
        vendor=vendor,
        place=place,
        key=device_key(bench.config, report=bench.report),
        amounts=amounts,
        report=bench.report,
    )
    receipt, done = work.run()
    return Finalized(place, receipt, warnings, done)


def finalize_plans(path: Path, bench: Bench) -> tuple[FinalizePlan, ...]:
    """The plans that the bundle at `path` carries, its signature checked. Raises ProofError, InputError."""
    with open_bundle(path) as opened:
        checked = check_documents(
            opened, bench.public_key, bench.trusted, accept_development_key=bench.accept_development_key
        )
        return _plans(opened, checked)


def _plans(opened: Opened, checked: Checked) -> tuple[FinalizePlan, ...]:
    return tuple(_plan(opened, checked, path) for path in sorted(checked.digests) if is_plan_path(path))


def _choose_plan(opened: Opened, checked: Checked, artifact: str | None) -> FinalizePlan:
    plans = {plan.artifact: plan for plan in _plans(opened, checked)}
    if not plans:
        message = "the bundle has nothing to finish on a device"
        raise InputError.of(
            message, place=opened.place, hint="its artifacts run as they are: `edgec inspect` lists them"
        )
    names = listed(list(plans))
    if artifact is None and len(plans) > 1:
        message = f"the bundle has {len(plans)} artifacts for a device"
        raise InputError.of(message, place=opened.place, hint=f"choose one with --artifact: {names}")
    chosen = artifact or next(iter(plans))
    if chosen not in plans:
        raise InputError.of(
            f"no artifact `{chosen}` is finished on a device", place=opened.place, hint=f"there are {names}"
        )
    return plans[chosen]


def _plan(opened: Opened, checked: Checked, path: str) -> FinalizePlan:
    data = opened.document(path)
    if sha256_bytes(data) != checked.digests[path]:
        raise refuse(f"`{path}` was changed after it was signed", place=opened.place)
    plan = parse_plan(data, f"{opened.place}: {path}")
    if plan_path(plan.artifact) != path:
        raise refuse(f"`{path}` is about another artifact, {plan.artifact}", place=opened.place)
    return plan


def _amounts(plan: FinalizePlan, facts: DeviceFacts, place: EnginePlace, model_mib: int) -> Amounts:
    """What must be free to build and prove. A GPU with its own memory needs what the engine takes there."""
    run_mib = plan.requires.run_memory_mib
    own = facts.gpu_memory_free_mib.value is not None
    disk = plan.requires.build_disk_mib
    unpacked = 0 if place.bundle.exists() else model_mib
    return Amounts(
        build_memory_mib=plan.requires.build_memory_mib,
        memory_mib=None if own else run_mib,
        gpu_memory_mib=run_mib if own else None,
        disk_mib=None if disk is None else disk + unpacked,
    )


def _folder_name(name: str, place: str) -> str:
    if "/" in name or name.startswith(".") or path_fault(name):
        raise refuse(f"the bundle's name {name!r} cannot be a folder's", place=place)
    return name
