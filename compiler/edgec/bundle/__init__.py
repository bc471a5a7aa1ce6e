"""Bundles: layout, manifest, signature, verification."""
