"""The HTTP headers and media types that the site needs, for every server that is told of them.

Rule: they stand here only; nginx.conf, the Caddyfile and the trial's own server take them from here.
"""

from __future__ import annotations

# Without the first two a browser gives no shared memory, and the model runs on one thread.
ISOLATION: tuple[tuple[str, str], ...] = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# Suffix to media type; a browser compiles `.wasm` while it arrives only as application/wasm.
MEDIA_TYPES: tuple[tuple[str, str], ...] = (
    (".html", "text/html; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".json", "application/json"),
    (".wasm", "application/wasm"),
    (".gguf", "application/octet-stream"),
)
