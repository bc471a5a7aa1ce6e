"""The sites there are, one for each format that runs in a browser: its scripts, its runtime, what it needs.

Rule: what differs between sites stands here; the page's frame, servers and headers are the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class App:
    """A site's own part. `kind`: of models; `engine`: for people; `files`: in the templates' folder of the format,
    besides the shared ones; `script_sources`, `worker_sources`: what its Content-Security-Policy lets run; `carried`:
    what the page takes from the bundle besides the weights; `needs`: of a browser, a sentence.
    """

    kind: str
    engine: str
    files: tuple[str, ...]
    script_sources: str
    worker_sources: str
    carried: tuple[str, ...]
    needs: str

    @property
    def scripts(self) -> tuple[str, ...]:
        """All scripts of the page, the shared ones too."""
        return tuple(sorted({*(f for f in self.files if f.endswith(".js")), "browser.js", "page.js"}))


APPS: Mapping[str, App] = {
    "gguf": App(
        kind="decoder",
        engine="wllama (llama.cpp in WebAssembly)",
        files=("app.js", "engine.js"),
        script_sources="'self' blob: 'wasm-unsafe-eval'",
        worker_sources="blob:",
        carried=(),
        needs="It needs a browser with 64-bit WebAssembly memory: Chrome or Edge 133, Firefox 134, or later. "
        "Safari has none.",
    ),
    "onnx": App(
        kind="encoder",
        engine="onnxruntime-web (onnxruntime in WebAssembly)",
        files=("app.js", "engine.js", "bert.js", "unicode.js", "LICENCE.onnxruntime.txt"),
        script_sources="'self' 'wasm-unsafe-eval'",
        worker_sources="'self'",
        carried=("/tokenizer.json",),
        needs="It needs a browser with WebAssembly SIMD: Chrome or Edge 91, Firefox 89, Safari 16.4, or later.",
    ),
}
