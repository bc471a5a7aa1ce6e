"""llama.cpp (through xllamacpp's library) in a process of its own, which may crash or hang without hurting the build."""
