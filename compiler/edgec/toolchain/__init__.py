"""External tools: subprocesses and pinned versions."""
