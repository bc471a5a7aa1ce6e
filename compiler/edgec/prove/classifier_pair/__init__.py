"""Proof of image classifiers: the artifact on its own runtime or in its vendor's simulator, the source in torch."""
