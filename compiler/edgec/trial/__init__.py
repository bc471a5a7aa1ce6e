"""Starts what a bundle carries on the software that will serve it, and tries it there."""
