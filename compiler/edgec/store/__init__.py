"""The content-addressed store and atomic effects on disk."""
