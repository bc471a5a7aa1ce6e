"""The way of one engine from a verified bundle to the one in use, step by step.

Rule: a state is recorded when it is durable and not before; after a power loss the work goes on from the last one whose
files are still what was recorded. The engine in use stays until another one was proven.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import edgec
from edgec.bundle.finalize_plan import FinalizePlan
from edgec.bundle.keyfile import SigningKey
from edgec.bundle.opened import Opened
from edgec.bundle.replace import move_in, sync_tree
from edgec.bundle.verify import Checked
from edgec.device import build, proof
from edgec.device.facts import DeviceFacts
from edgec.device.journal import Journal
from edgec.device.match import Amounts, require_amounts, tensorrt_fact
from edgec.device.places import EnginePlace, file_digests, holds
from edgec.device.receipt import BuildRecord, BundleName, EngineFile, ProofRecord, Receipt, StandIn, verify_receipt
from edgec.device.unpacking import ACTION, still_unpacked, unpack_needed
from edgec.device.vendor import Vendor, Versions
from edgec.errors import EdgecError, ProofError
from edgec.events import ActionFinished, ActionStarted, Note, Reporter
from edgec.prove.device_reference import read_device_reference
from edgec.store.atomic import explained, write_file


@dataclass(frozen=True)
class Work:
    """All that is known when the work begins. `needed`: path -> digest of the bundle's files that it reads."""

    opened: Opened
    checked: Checked
    needed: Mapping[str, str]
    bundle: BundleName
    plan: FinalizePlan
    facts: DeviceFacts
    versions: Versions
    vendor: Vendor
    place: EnginePlace
    key: SigningKey
    amounts: Amounts
    report: Reporter

    def run(self) -> tuple[Receipt, bool]:
        """Does what is left to do; the receipt, and whether there was anything. Raises DeviceError, ProofError."""
        with explained(self.place.folder):
            self.place.folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(self.place.journal)
        if (standing := self._standing(journal)) is not None:
            return standing, self._bring_back()
        if not self._may_activate(journal):
            if self._holds_engine(journal):
                self._take_back(journal)
            elif not self._is_built(journal):
                self._make(journal)
            self._prove(journal)
        self._activate(journal)
        receipt = self._receipt_of(journal.data("proven"))
        if receipt is None:
            raise ProofError.of("the receipt that was just written does not verify", hint="check the disk")
        return receipt, True

    # What stands from an earlier run.

    def _standing(self, journal: Journal) -> Receipt | None:
        """The receipt of the engine that is in use already, when nothing about it has changed."""
        last = journal.last
        if last is None or last.state != "active":
            return None
        if not self._holds_engine(journal):
            self.report(Note("the engine was changed after it was proven; it is built again", "warning"))
            return None
        receipt = self._receipt_of(journal.data("proven"))
        if receipt is None:
            why = "the receipt does not verify with this device's key; the engine is proven again"
            self.report(Note(why, "warning"))
            return None
        if self.plan.model_at_run_time and not still_unpacked(self.place.bundle, self.needed):
            self.report(
                Note("the model's files were changed; they are unpacked and the engine is proven again", "warning")
            )
            return None
        return receipt

    def _bring_back(self) -> bool:
        """Puts a proven engine into use again; whether another one was."""
        is_other = not self.place.is_current()
        if is_other:
            self._put_into_use()
        if not self.plan.model_at_run_time:
            shutil.rmtree(self.place.bundle, ignore_errors=True)
        return is_other

    def _holds_engine(self, journal: Journal) -> bool:
        """Whether an engine was in use here, and its files are those that were built."""
        was_active = journal.last is not None and journal.last.state == "active"
        return was_active and holds(self.place.engine, journal.data("built").get("files", {}))

    def _may_activate(self, journal: Journal) -> bool:
        """Whether only the change to the proven engine is left, which a power loss may have interrupted anywhere."""
        if journal.last is None or journal.last.state != "proven" or self._receipt_of(journal.data("proven")) is None:
            return False
        files = journal.data("built").get("files", {})
        return holds(self.place.fresh, files) or holds(self.place.engine, files)

    def _is_built(self, journal: Journal) -> bool:
        reached = journal.last is not None and journal.last.state in ("built", "proven")
        return reached and holds(self.place.fresh, journal.data("built").get("files", {})) and self._is_unpacked()

    def _is_unpacked(self) -> bool:
        return still_unpacked(self.place.bundle, self.needed)

    def _receipt_of(self, proven: Mapping[str, Any]) -> Receipt | None:
        """The receipt whose digest the journal recorded, from either of its names; None unless it verifies."""
        for path in (self.place.fresh_receipt, self.place.receipt):
            try:
                data = path.read_bytes()
                receipt = verify_receipt(data, self.key.public, str(path))
            except (OSError, EdgecError):
                continue
            if receipt.finished == proven.get("finished"):
                return receipt
        return None

    # The steps.

    def _make(self, journal: Journal) -> None:
        require_amounts(self.amounts, self.facts)
        if not self._is_unpacked():
            journal.reach("verified", {"manifest": self.bundle.manifest_digest})
            self._unpack("the engine is built from it")
        journal.reach("unpacked")
        journal.reach("building", {"started": _now()})
        with explained(self.place.folder):
            if self.place.fresh.exists():
                # Half an engine of a run that was killed.
                shutil.rmtree(self.place.fresh)
            self.place.fresh.mkdir()
        with self._action(build.ACTION, "build", f"{self.plan.build.command[0]} on this device"), self._discarding():
            facts = build.build_engine(
                self.plan,
                self.vendor,
                model=self.place.bundle / self.plan.model,
                out=self.place.fresh,
                log=self.place.build_log,
                report=self.report,
            )
            with explained(self.place.fresh):
                _sync_files(self.place)
                files = file_digests(self.place.fresh)
        record = BuildRecord(command=facts.command, wall_s=round(facts.wall_s, 3), oom_kills=facts.oom_kills)
        journal.reach("built", {"files": files, "build": record.model_dump(mode="json")})

    def _take_back(self, journal: Journal) -> None:
        """Makes the engine in use one that is to be proven again. It stays in use: both have the same files."""
        with explained(self.place.folder):
            if self.place.fresh.exists():
                shutil.rmtree(self.place.fresh)
            shutil.copytree(self.place.engine, self.place.fresh, copy_function=os.link)
        if not self._is_unpacked():
            self._unpack("the engine is proven with it")
        journal.reach("built", journal.data("built"))

    def _unpack(self, reason: str) -> None:
        with self._action(ACTION, "unpack", reason):
            unpack_needed(self.opened, self.checked, self.needed, self.place.bundle, self.report)

    def _prove(self, journal: Journal) -> None:
        reference = read_device_reference(self.place.bundle / self.plan.proof.reference)
        self.place.proof_log.unlink(missing_ok=True)
        stopped = (proof.RunnerStoppedError, KeyboardInterrupt)
        with self._action(proof.ACTION, "prove", "compared with the recorded reference"), self._discarding(but=stopped):
            proven = proof.prove_engine(
                self.plan,
                reference,
                self.vendor,
                model=self.place.bundle / self.plan.model,
                engine=self.place.fresh,
                log=self.place.proof_log,
                report=self.report,
            )
            proven.require_passed()
        receipt = self._receipt(journal, proven)
        write_file(self.place.fresh_receipt, receipt.sign(self.key))
        journal.reach("proven", {"finished": receipt.finished})

    def _activate(self, journal: Journal) -> None:
        files = journal.data("built")["files"]
        with explained(self.place.folder):
            if not holds(self.place.engine, files):
                move_in(self.place.fresh, self.place.engine)
            if self.place.fresh.exists():
                shutil.rmtree(self.place.fresh)
            if self.place.fresh_receipt.exists():
                self.place.fresh_receipt.replace(self.place.receipt)
        self._put_into_use()
        journal.reach("active")
        if not self.plan.model_at_run_time:
            shutil.rmtree(self.place.bundle, ignore_errors=True)
        self.place.remove_scratch()
        for key in self.place.remove_older():
            self.report(Note(f"removed the older engine {key}"))

    def _put_into_use(self) -> None:
        self.place.make_current()
        self.report(Note(f"in use: {self.place.shelf / 'current' / 'engine'}"))

    def _receipt(self, journal: Journal, proven: proof.EngineProof) -> Receipt:
        built = journal.data("built")
        tensorrt = tensorrt_fact(self.facts, self.versions).value
        stand_in = StandIn(script_digest=self.vendor.stand_in) if self.vendor.stand_in else None
        return Receipt(
            schema_="edgec/receipt/v1",
            bundle=self.bundle,
            artifact=self.plan.artifact,
            backend=self.plan.backend,
            tensorrt=None if tensorrt is None else str(tensorrt),
            device=self.facts,
            limits=self.plan.limits,
            stand_in=stand_in,
            build=BuildRecord.model_validate(built["build"]),
            engine={name: EngineFile.model_validate(file) for name, file in built["files"].items()},
            proof=ProofRecord(
                runtime=proven.runtime,
                reference_digest=self.needed[self.plan.proof.reference],
                checks=proven.checks,
                not_verified=proven.not_verified,
            ),
            edgec=edgec.__version__,
            started=journal.data("building")["started"],
            finished=_now(),
        )

    @contextmanager
    def _action(self, action: str, kind: str, reason: str) -> Iterator[None]:
        self.report(ActionStarted(action, kind, reason))
        started = time.monotonic()
        yield
        self.report(ActionFinished(action, kind, cached=False, wall_s=time.monotonic() - started))

    @contextmanager
    def _discarding(self, *, but: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """Throws away an engine that is half or failed, so that nothing can take it for one. Its log stays.

        `but`: ends that say nothing of the engine; it stays, and is proven next time.
        """
        try:
            yield
        except (EdgecError, KeyboardInterrupt) as end:
            if not isinstance(end, but):
                shutil.rmtree(self.place.fresh, ignore_errors=True)
            raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _sync_files(place: EnginePlace) -> None:
    """Makes what the builder wrote durable: it may not have done so."""
    for path in place.fresh.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_tree(place.fresh)
