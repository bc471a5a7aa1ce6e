"""The keys of a bundle, in one place for those who build and verify: key files and this machine's keyring."""

from __future__ import annotations

from edgec.bundle.keyfile import PublicKey, SigningKey, load_public_key, load_signing_key, new_key, public_path
from edgec.bundle.keyring import TrustedKey, default_signing_key, trust, trusted_keys

__all__ = [
    "PublicKey",
    "SigningKey",
    "TrustedKey",
    "default_signing_key",
    "load_public_key",
    "load_signing_key",
    "new_key",
    "public_path",
    "trust",
    "trusted_keys",
]
