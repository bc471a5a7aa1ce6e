"""The build: the one place that runs a plan."""
