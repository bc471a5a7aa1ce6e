"""Target profiles."""
