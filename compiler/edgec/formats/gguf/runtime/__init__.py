"""llama.cpp (through xllamacpp's library) in a process that may crash or hang without hurting the build."""
