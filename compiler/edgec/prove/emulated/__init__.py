"""Proof by emulation: an artifact on an emulated 64-bit ARM against the same file on this machine."""
