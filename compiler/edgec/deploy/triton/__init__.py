"""The Triton emitter: a model repository, a start script and what an operator reads, from typed settings."""
