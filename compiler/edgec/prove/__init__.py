"""Proof: an artifact compared, on its real runtime, with its source."""
