"""Runs the artifacts of an unpacked bundle on an emulated processor of their target, and compares with this machine.

Rule: what passes is still "not verified on hardware", and nothing is said of speed, power or memory.
"""

from __future__ import annotations

import time
from pathlib import Path

from edgec.bundle.content import MANIFEST_PATH
from edgec.bundle.manifest import ArtifactEntry, Manifest, parse_manifest
from edgec.documents.wording import listed
from edgec.errors import InputError
from edgec.events import ActionFinished, ActionStarted
from edgec.prove.emulated.checks import NOT_ON_HARDWARE, emulation_checks
from edgec.prove.emulated.run import emulate
from edgec.prove.emulated.subject import FORMATS, Bench, EmulatedSubject, drawn_inputs
from edgec.trial.model import Trial

_SMALL = ("tokenizer.json", "config.json")


def try_emulated(bundle_folder: Path, bench: Bench) -> tuple[Trial, ...]:
    """One trial for each artifact that has a runtime in qemu.

    Raises InputError when the target is not aarch64 or no artifact can be emulated, ToolError as `emulate` does.
    """
    manifest = parse_manifest((bundle_folder / MANIFEST_PATH).read_bytes())
    cpu = _processor(manifest)
    artifacts = [a for a in manifest.artifacts if a.format in FORMATS]
    if not artifacts:
        formats = ", ".join(a.format for a in manifest.artifacts)
        raise InputError.of(
            f"the bundle holds nothing that can be emulated, but {formats}",
            hint=f"emulated are the formats {listed(FORMATS)}; verify without --emulate",
        )
    return tuple(_tried(bundle_folder, manifest, artifact, cpu, bench) for artifact in artifacts)


def _processor(manifest: Manifest) -> str:
    """qemu's name of the target's processor. Raises InputError."""
    target, isa = manifest.target["name"], manifest.target["isa"]
    if isa["arch"] != "aarch64":
        raise InputError.of(
            f"the bundle is for {target}, which is {isa['arch']}: only 64-bit ARM (aarch64) is emulated",
            hint="verify without --emulate",
        )
    if not isa.get("qemu_cpu"):
        raise InputError.of(
            f"the profile of {target} does not say which processor of qemu is like its own",
            hint="set `isa.qemu_cpu` in the profile, for example `cortex-a76`, and build again",
        )
    return str(isa["qemu_cpu"])


def _tried(folder: Path, manifest: Manifest, artifact: ArtifactEntry, cpu: str, bench: Bench) -> Trial:
    small = {name: path.read_bytes() for name in _SMALL if (path := folder / name).is_file()}
    subject = EmulatedSubject(
        name=artifact.name,
        format=artifact.format,
        kind=manifest.model["kind"],
        files=tuple(folder / name for name in artifact.files),
        cpu=cpu,
        features=tuple(manifest.target["isa"]["features"]),
        tokenizer=small.get("tokenizer.json"),
        config=small.get("config.json"),
        inputs=drawn_inputs(manifest.model.get("interfaces", {}).get(artifact.name, {}), manifest.model.get("image")),
        context=manifest.model.get("context"),
    )
    action = f"emulate {artifact.name}"
    began = time.monotonic()
    bench.report(ActionStarted(action, "trial", f"run it on an emulated {cpu}, and compare with this machine"))
    emulation = emulate(subject, bench)
    bench.report(ActionFinished(action, "trial", cached=emulation.kept, wall_s=time.monotonic() - began))
    kept = "; found by an earlier run" if emulation.kept else ""
    versions = f"{artifact.name} on {emulation.runtime}; {NOT_ON_HARDWARE}{kept}"
    return Trial(emulation.label, versions, emulation_checks(emulation), tuple(gap.why for gap in emulation.gaps))
