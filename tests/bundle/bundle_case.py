"""Makes small real bundles in their three forms, with keys that are the same in every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgec.bundle.content import BundleArtifact, BundleContent, BundleFile, BundleInfo, MediaKind
from edgec.bundle.keyfile import PublicKey, SigningKey
from edgec.bundle.unpack import unpack
from edgec.bundle.write import write_bundle
from edgec.documents.canonical import sha256_bytes
from edgec.events import silent
from edgec.source.model import SourceFile, SourceIdentity

FILES: dict[str, tuple[MediaKind, bytes]] = {
    "README.md": ("doc", b"# A model\n\nIt knows little.\n"),
    "config.json": ("weight.config", b'{"hidden_size":8}'),
    "gguf/model-q4_0.gguf": ("weight", bytes(range(256)) * 40),
}
PROOF: dict[str, Any] = {
    "artifact": "gguf-q4_0",
    "runtime": "llama.cpp 1",
    "checks": [
        {
            "name": "mean KL divergence",
            "measured": 0.0123,
            "threshold": 0.05,
            "relation": "<=",
            "unit": "nats",
            "passed": True,
        }
    ],
    "not_verified": [{"what": "speed on the device", "why": "no such device is here"}],
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def derived_key(scalar: int) -> SigningKey:
    """A key that is the same in every run."""
    return SigningKey(ec.derive_private_key(scalar, ec.SECP256R1()))


def make_content(folder: Path, files: dict[str, tuple[MediaKind, bytes]] = FILES, **changes: Any) -> BundleContent:
    """A bundle's content with its files written below `folder`."""
    entries = []
    for name, (kind, data) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        entries.append(BundleFile(name, path, kind, sha256_bytes(data), len(data)))
    facts: dict[str, Any] = {
        "name": "docs-llama",
        "version": "1.2.3",
        "description": "A small model",
        "licence": "apache-2.0",
        "target": {"name": "pi-5-8gb"},
        "recipe": {"schema": "edgec/recipe/v1", "name": "docs-llama"},
        "model": {
            "architecture": "llama",
            "parameters": 1_100_000_000,
            "format": "gguf",
            "precision": "bf16",
            "quantization": "q4_0",
        },
        "source": SourceIdentity(
            f"pkg:huggingface/acme/docs-llama@{COMMIT}",
            COMMIT,
            "apache-2.0",
            (SourceFile("model.safetensors", 9, sha256_bytes(b"the model")),),
        ),
        "artifacts": (BundleArtifact("gguf-q4_0", "gguf", "q4_0", ("gguf/model-q4_0.gguf",)),),
        "proofs": (PROOF,),
        "not_verified": tuple(PROOF["not_verified"]),
        "tools": {"edgec": "0.1.0", "llama-imatrix": sha256_bytes(b"a binary")},
        "inputs": {"calibration.txt": sha256_bytes(b"text")},
        "platform": "linux-x86_64",
        **changes,
    }
    return BundleContent(files=tuple(entries), **facts)


def write_pem(key: SigningKey, folder: Path, name: str = "release") -> tuple[Path, Path]:
    """The private and public PEM files of `key`."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    private.write_bytes(pem)
    private.chmod(0o600)
    public.write_bytes(key.public.pem)
    return private, public


@dataclass(frozen=True)
class Bundle:
    """The same bundle as a layout, as an archive and unpacked."""

    content: BundleContent
    key: SigningKey
    layout: Path
    archive: Path
    folder: Path
    info: BundleInfo

    @property
    def public(self) -> PublicKey:
        """The key that verifies it."""
        return self.key.public


def make_bundle(root: Path, key: SigningKey, **changes: Any) -> Bundle:
    """Writes a bundle below `root` in all its forms."""
    content = make_content(root / "input", **changes)
    layout, archive = root / "bundle", root / "bundle.tar"
    info = write_bundle(content, layout, key=key, report=silent, archive=archive)
    unpack(layout, root / "unpacked", public_key=key.public, accept_development_key=True)
    return Bundle(content, key, layout, archive, root / "unpacked", info)
