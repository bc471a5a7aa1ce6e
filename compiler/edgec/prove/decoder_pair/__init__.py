"""Proof of decoders whose runtime cannot run where they are built: two checkpoints, compared in torch."""
