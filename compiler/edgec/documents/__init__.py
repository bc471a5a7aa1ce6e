"""Typed documents: YAML read with marks, templates, canonical bytes."""
