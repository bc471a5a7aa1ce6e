"""Devices as files, bundles with a finalize plan, and stand-ins that go wrong in one way each."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recorded_builder
from bundle_case import derived_key, make_content

from edgec.bundle.content import BundleArtifact
from edgec.bundle.finalize_builds import edgellm_build, trtllm_build
from edgec.bundle.finalize_plan import Backend, FinalizePlan, Limits, ProofPlan, Requirements, plan_path, reference_path
from edgec.bundle.keyfile import SigningKey
from edgec.bundle.write import write_bundle
from edgec.device.finalize import Bench
from edgec.events import Event, silent
from edgec.prove.device_reference import DeviceReference, Position, Prompt

ROOTS = Path(__file__).parent / "roots"
ORIN = ROOTS / "orin-nx-r39.2"
ARTIFACT = "edgellm-int4_awq"
WEIGHTS = bytes(range(256)) * 64
PUBLISHER = derived_key(77)
# JetPack 7.2, for which tensorrt-edgellm 0.11.0 is.
REQUIRES = Requirements(
    arch="aarch64", sm=87, l4t="39.2", jetpack="7.2", cuda="13.2", tensorrt="10.16", build_memory_mib=1000,
    build_disk_mib=1, run_memory_mib=500, power_mode="MAXN",
)  # fmt: skip
LIMITS = Limits(max_batch=2, max_input=512, max_context=1024)


def reference(weights: bytes, artifact: str = ARTIFACT, *, prompts: int = 3, length: int = 5) -> DeviceReference:
    """What the toy model of these weights answers."""
    made = []
    for number in range(prompts):
        tokens = [number, number + 1, number + 2]
        found = recorded_builder.continuation(weights, tokens, length)
        positions = tuple(Position(top=tuple(d.items())) for d in found)
        made.append(
            Prompt(
                name=f"p{number}", text=f"{number}", token_ids=tuple(tokens), adds_special=False, positions=positions
            )
        )
    return DeviceReference(
        artifact=artifact, framework="a toy", tokenizer_digest="sha256:" + "0" * 64, new_tokens=length,
        new_tokens_why="a test", end_token_ids=(), tie_margin_nats=0.1, min_agreement=0.9, max_logprob_error=0.1,
        prompts=tuple(made),
    )  # fmt: skip


def edgellm_plan(weights: bytes = WEIGHTS, **changes: Any) -> FinalizePlan:
    """A plan for an exported ONNX folder."""
    fields: dict[str, Any] = {
        "artifact": ARTIFACT,
        "backend": Backend(name="edgellm", version=recorded_builder.EDGELLM),
        "requires": REQUIRES,
        "model": "edgellm/llm",
        "model_at_run_time": False,
        "build": edgellm_build(recorded_builder.EDGELLM, LIMITS, len(weights)),
        "limits": LIMITS,
        "proof": ProofPlan(runner="edgellm", reference=reference_path(ARTIFACT)),
        **changes,
    }
    return FinalizePlan(**fields)


def trtllm_plan(weights: bytes = WEIGHTS, **changes: Any) -> FinalizePlan:
    """A plan for a TensorRT-LLM checkpoint."""
    command = ("trtllm-build", "--checkpoint_dir", "{model}", "--output_dir", "{engine}", "--max_batch_size", "2")
    fields: dict[str, Any] = {
        "artifact": "trtllm-int8",
        "backend": Backend(name="trtllm", version=recorded_builder.TRTLLM),
        "requires": REQUIRES,
        "model": "trtllm",
        "model_at_run_time": False,
        "build": trtllm_build(recorded_builder.TRTLLM, command, len(weights), batch=2),
        "limits": LIMITS,
        "proof": ProofPlan(runner="trtllm", reference=reference_path("trtllm-int8")),
        **changes,
    }
    return FinalizePlan(**fields)


def make_bundle(
    root: Path,
    *plans: FinalizePlan,
    weights: bytes = WEIGHTS,
    version: str = "1.0.0",
    recorded: DeviceReference | None = None,
    key: SigningKey = PUBLISHER,
) -> Path:
    """A bundle, written by the real writer, with these plans (default: one for Edge-LLM)."""
    plans = plans or (edgellm_plan(weights),)
    files: dict[str, tuple[Any, bytes]] = {"README.md": ("doc", b"# A model\n")}
    artifacts, proofs = [], []
    for plan in plans:
        model = _model_files(plan, weights)
        files |= model
        files[plan_path(plan.artifact)] = ("weight.config", plan.to_bytes())
        document = recorded or reference(weights, plan.artifact)
        files[plan.proof.reference] = ("weight.config", document.model_dump_json(by_alias=True).encode())
        artifacts.append(BundleArtifact(plan.artifact, plan.backend.name, "int4_awq", tuple(model)))
        proofs.append({"artifact": plan.artifact, "runtime": "a toy", "checks": [_CHECK]})
    content = make_content(
        root / "input", files, name="orin-toy", version=version, artifacts=tuple(artifacts), proofs=tuple(proofs)
    )
    write_bundle(content, root / "bundle", key=key, report=silent, archive=root / "bundle.tar")
    return root / "bundle"


_CHECK = {"name": "toy", "measured": 0.0, "threshold": 0.1, "relation": "<=", "unit": "nats", "passed": True}


def _model_files(plan: FinalizePlan, weights: bytes) -> dict[str, tuple[Any, bytes]]:
    if plan.backend.name == "trtllm":
        return {f"{plan.model}/rank0.safetensors": ("weight", weights), f"{plan.model}/config.json": ("weight", b"{}")}
    config = {"edgellm_version": recorded_builder.EDGELLM, "hidden_size": 8}
    return {
        f"{plan.model}/model.onnx": ("weight", b"a graph"),
        f"{plan.model}/model.onnx.data": ("weight", weights),
        f"{plan.model}/config.json": ("weight", json.dumps(config).encode()),
        f"{plan.model}/tokenizer.json": ("weight", b"{}"),
    }


def stand_in(folder: Path, mode: str = "good", *, version: str = recorded_builder.EDGELLM) -> Path:
    """A script that stands in for the vendor's programs and goes wrong as `mode` says."""
    path = folder / f"stand_in-{mode.replace(' ', '_')}-{version}.py"
    path.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import recorded_builder\n"
        "def run(request, progress):\n"
        f"    mode = {f'version {version}'!r} if request['ask'] == 'versions' else {mode!r}\n"
        "    return recorded_builder.run(request, progress, mode=mode)\n"
        "if __name__ == '__main__':\n"
        f"    sys.exit(recorded_builder.main(sys.argv[1:], mode={mode!r}))\n"
    )
    return path


def replaying_stand_in(folder: Path, reference_file: Path, version: str) -> Path:
    """A stand-in for a bundle of a real model: it answers what the file records, an unpacked bundle's reference."""
    path = folder / "replaying_stand_in.py"
    path.write_text(
        "import sys, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import recorded_builder\n"
        "def run(request, progress):\n"
        f"    return recorded_builder.replay(request, pathlib.Path({str(reference_file)!r}), {version!r})\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(recorded_builder.main(sys.argv[1:]))\n"
    )
    return path


def wait_until_gone(word: str) -> None:
    """Waits until no process has `word` in its command line; fails after a while."""
    deadline = time.monotonic() + 10
    while any(word.encode() in line for line in _command_lines()):
        assert time.monotonic() < deadline, f"a process with {word} lives on"
        time.sleep(0.05)


def _command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found


@dataclass
class Device:
    """A device in a test's folder."""

    folder: Path
    events: list[Event]

    def bench(
        self, mode: str = "good", *, root: Path = ORIN, version: str = recorded_builder.EDGELLM, **changes: Any
    ) -> Bench:
        """Its bench, with a stand-in for the vendor's programs."""
        self.folder.mkdir(exist_ok=True)
        fields: dict[str, Any] = {
            "state": self.folder / "state",
            "config": self.folder / "config",
            "env": {},
            "public_key": PUBLISHER.public,
            "stand_in": stand_in(self.folder, mode, version=version),
            "root": root,
            "report": self.events.append,
            **changes,
        }
        return Bench(**fields)

    @property
    def shelf(self) -> Path:
        """Where the engines of the first artifact stand."""
        return self.folder / "state" / "engines-stand-in" / "orin-toy" / ARTIFACT

    def current(self) -> str | None:
        """The key of the engine in use."""
        link = self.shelf / "current"
        return str(link.readlink()) if link.is_symlink() else None

    def notes(self) -> list[str]:
        """What was said to the person."""
        return [event.message for event in self.events if hasattr(event, "message")]
