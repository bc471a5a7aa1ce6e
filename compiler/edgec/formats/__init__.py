"""Formats: one backend each, independent of each other."""
