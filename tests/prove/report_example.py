"""Reports with everything in them, for the tests and for looking at the page."""

from __future__ import annotations

import math

from edgec.prove.model import Check, NotVerified, Proof, Sample, TensorError
from edgec.prove.report import (
    ReportArtifact,
    ReportData,
    ReportDisk,
    ReportFile,
    ReportMemory,
    ReportMemoryItem,
    ReportSource,
    ReportSpeed,
)

CHECKS = (
    Check(name="token ids", measured=0, threshold=0, relation="==", unit="different texts of 212", passed=True),
    Check(name="KL divergence", measured=0.0172, threshold=0.04, relation="<=", unit="nats", passed=True),
    Check(name="top-1 agreement", measured=0.9312, threshold=0.86, relation=">=", unit="share", passed=True),
    Check(name="perplexity", measured=1.021, threshold=1.06, relation="<=", unit="times", passed=True,
          detail="8.412 against 8.239 of the unquantized model"),
)  # fmt: skip


def tensors(layers: int = 28) -> tuple[TensorError, ...]:
    """Plausible errors of a Q4_K_M model, made by a formula."""
    found = [TensorError(name="token_embd.weight", type="q6_k", elements=1, bytes=191_000_000, relative_rmse=0.0182)]
    for i in range(layers):
        for j, role in enumerate(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")):
            q6 = role in {"attn_v", "ffn_down"} and (i < layers / 8 or i >= 7 * layers / 8 or i % 3 == 2)
            base = 0.0185 if q6 else 0.068
            error = base * (1 + 0.12 * math.sin(i * 1.7 + j) + 0.05 * math.cos(j * 3.1))
            kind = "q6_k" if q6 else "q4_k"
            name = f"blk.{i}.{role}.weight"
            found.append(TensorError(name=name, type=kind, elements=1, bytes=7_000_000, relative_rmse=error))
        name = f"blk.{i}.attn_norm.weight"
        found.append(TensorError(name=name, type="f32", elements=1, bytes=6144, relative_rmse=0.0))
    return tuple(found)


MEMORY = ReportMemory(
    verdict="fits",
    items=(
        ReportMemoryItem("weights, mapped from the file", 0.6, "clean pages of the file, shared by processes"),
        ReportMemoryItem("weights, repacked at load", 940.0, "copied into the CPU kernels' layout at load"),
        ReportMemoryItem("KV cache", 112.0, "28 layers x 2 heads x (128 + 128) x 4096 tokens x 2 bytes x 1"),
        ReportMemoryItem("compute buffer", 304.8, "activations of a batch of 512 tokens"),
        ReportMemoryItem("runtime", 64.0, "estimate: not measured on the device"),
    ),
    needed_mib=1421.4,
    available_mib=7424.0,
    total_mib=8192.0,
    os_reserve_mib=768.0,
    context=4096,
    batch=1,
)
SPEED = ReportSpeed(
    runtime="llama.cpp (CPU)",
    low_tok_s=7.63,
    high_tok_s=10.4,
    bytes_per_token=1_103_000_000,
    confidence="extrapolated: measured for 2 to 7.3 GB per token, this model reads 1.1 GB",
    requires="dotprod compiled into llama.cpp, 4 threads, active cooling",
    provenance="measured: https://github.com/geerlingguy/ai-benchmarks/issues/1, /7 and /24",
)


def example(checks: tuple[Check, ...] = CHECKS, memory: ReportMemory = MEMORY) -> ReportData:
    """A report of a 1.5B model for a Raspberry Pi 5."""
    proof = Proof(
        artifact="gguf",
        runtime="llama.cpp b11549 (xllamacpp 2026.10.11549)",
        checks=checks,
        samples=(
            Sample(
                prompt="What is a capacitor?",
                text="A capacitor is a part that stores electric charge between two plates.\nIt gives it back quickly.",
            ),
        ),
        tensors=tensors(),
        not_verified=(
            NotVerified(what="speed on Raspberry Pi 5, 8 GB", why="no such device took part in the build"),
            NotVerified(what="results of the ARM kernels", why="the proof ran on x86-64, which rounds differently"),
        ),
    )
    artifact = ReportArtifact(
        name="gguf",
        format="gguf",
        scheme="q4_k_m",
        files=("gguf/qwen2.5-1.5b-instruct-q4_k_m.gguf",),
        output_bytes=986_048_000,
        source_bytes=3_087_467_144,
        bytes_by_type={"q4_k": 620_000_000, "q6_k": 365_500_000, "f32": 548_000},
        proof=proof,
        memory=memory,
        speeds=(SPEED,),
    )
    return ReportData(
        name="qwen2.5-1.5b-instruct",
        version="1.0.0",
        description="A small assistant that works without a network.",
        target="pi5-8gb",
        target_title="Raspberry Pi 5, 8 GB",
        artifacts=(artifact,),
        source=ReportSource(
            uri="pkg:huggingface/Qwen/Qwen2.5-1.5B-Instruct@989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
            revision="989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
            licence="Apache-2.0",
            files=(
                ReportFile("config.json", 660, "sha256:" + "6d" * 32),
                ReportFile("model.safetensors", 3_087_467_144, "sha256:" + "a1" * 32),
                ReportFile("tokenizer.json", 7_031_645, "sha256:" + "c0" * 32),
            ),
        ),
        tools=(("edgec", "0.1.0"), ("xllamacpp", "2026.10.11549"), ("numpy", "2.4.1")),
        key_fingerprint="sha256:" + "5e" * 32,
        development_key=True,
        disk=ReportDisk(bundle_mib=948.0, copies=2, needed_mib=1896.0),
    )
